// The cards as this browser knows them. No document in here: what comes in are payloads, what comes out is which cards changed.
//
// Messages may cross: the list that a connection begins with and a change of the same moment, or those of two processes. Each card
// carries the number of its version, so an older one never covers a newer one, and a card that is gone stays gone.

export class Cards {
  constructor() {
    this.byKey = new Map();
    this.gone = new Map(); // the last version we knew of a card that we do not see any more
    this.old = new Set(); // the cards that this connection has not told of yet
  }

  // A connection begins; what we know is from an earlier one.
  begin() {
    this.old = new Set(this.byKey.keys());
  }

  // All cards, from this connection: what neither is among them nor came by itself meanwhile went while we were away.
  replace(payloads) {
    const changed = payloads.flatMap((payload) => {
      this.old.delete(payload.pk);
      return this.apply(payload);
    });
    for (const pk of this.old) this.byKey.delete(pk);
    return [...this.old, ...changed];
  }

  // One change; a batch is many. Gives the keys of the cards that are to be drawn anew.
  apply({ action, pk, data, changes }) {
    if (action === "batch") return changes.flatMap((change) => this.apply(change));
    const known = this.byKey.get(pk);
    this.old.delete(pk);
    if (action === "delete") {
      this.gone.set(pk, Math.max(data.version, known?.version ?? 0));
      return this.byKey.delete(pk) ? [pk] : [];
    }
    if (data.version < (known?.version ?? 0) || data.version <= (this.gone.get(pk) ?? 0)) return [];
    this.gone.delete(pk);
    this.byKey.set(pk, { pk, ...data });
    return [pk];
  }

  inColumn(column) {
    return [...this.byKey.values()].filter((card) => card.column === column).sort((a, b) => a.place - b.place || a.pk - b.pk);
  }

  // The place of a card that is put before another one, or at the end.
  placeBefore(column, beforePk, movedPk) {
    const cards = this.inColumn(column).filter(({ pk }) => pk !== movedPk);
    const index = cards.findIndex(({ pk }) => pk === beforePk);
    if (index === -1) return (cards.at(-1)?.place ?? 0) + 1024;
    return index === 0 ? cards[0].place - 1024 : (cards[index - 1].place + cards[index].place) / 2;
  }
}
