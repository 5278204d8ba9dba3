// Who is there, as far as this browser has heard: ids with names, in the order of the names.
//
// The server keeps no list. "joined" and "here" add an id, "left" removes it, and whoever has not been heard of for FORGET is taken
// off, because a server that was killed says no "left". Browsers repeat "here" every REPEAT; a window in the background is woken
// about once a minute only, hence the long patience.

export const REPEAT = 25000;
const FORGET = 150000;
const RETURN = 30000;

export class Roster {
  constructor() {
    this.people = new Map(); // id -> {name, heard}
    this.before = new Map(); // name -> when we lost sight of it because our own connection broke
  }

  // A new connection: what we knew is void, and those who come back with us have not "joined".
  restart(now) {
    for (const { name } of this.people.values()) this.before.set(name, now);
    this.people.clear();
  }

  // True if this is somebody new whose arrival is worth a notice.
  joined(id, name, now) {
    const lost = this.before.get(name);
    this.before.delete(name);
    return this.here(id, name, now) && !(lost !== undefined && now - lost < RETURN);
  }

  // True if the id was not on the list.
  here(id, name, now) {
    const fresh = !this.people.has(id);
    this.people.set(id, { name, heard: now });
    return fresh;
  }

  // True if the id was on the list.
  left(id) {
    return this.people.delete(id);
  }

  forget(now) {
    for (const [id, { heard }] of this.people) if (now - heard > FORGET) this.people.delete(id);
  }

  sorted() {
    const compare = new Intl.Collator(undefined, { sensitivity: "base" }).compare;
    return [...this.people].map(([id, { name }]) => ({ id, name })).sort((a, b) => compare(a.name, b.name) || (a.id < b.id ? -1 : 1));
  }
}
