"""
Whatever a session does, whoever follows what it tells sees the rows that are there: random transactions, replayed by two clients.

The rows of the database are the reference. A client that sees an update or a delete of a row it does not know, or a create of one
that it knows, was told wrongly as well, even if it ends up right.
"""

from random import Random
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from shmchan.layers.shm import ShmChannelLayer
from tests.unit.binding.models import Card, engine, make_session, payloads

KEYS = (1, 2, 3, 4)
STEPS = 400


def some_operation(random: Random) -> tuple[Any, ...]:
    """Something to do; with what it needs."""
    name = random.choice(
        ["add"] * 5
        + ["hide", "write", "write", "delete", "hide all", "delete some", "rename", "flush", "expire"]
        + ["begin", "begin", "release", "undo", "commit", "commit", "rollback"]
    )
    return name, random.choice(KEYS), random.choice(KEYS), random.random() < 0.4


class Client:
    """What one group has been told, as rows."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.rows: dict[int, tuple[str, int | None]] = {}

    def hear(self, told: dict[str, Any]) -> None:
        for change in told.get("changes", [told]):
            key, known = change["pk"], change["pk"] in self.rows
            assert known == (change["action"] != "create"), f"{change} for {self.group}, who sees {self.rows}"
            if change["action"] == "delete":
                assert self.rows.pop(key) == (change["data"]["text"], change["data"]["place"]), "it says what was seen last"
            else:
                self.rows[key] = change["data"]["text"], change["data"]["place"]


def apply(session: Session, savepoints: list[Any], operation: tuple[Any, ...]) -> None:
    name, key, other, yes = operation
    if name == "add" and session.get(Card, key) is None:
        session.add(Card(id=key, text="new", admin_only=yes, place=0))
        session.flush()
    elif name in ("hide", "write", "delete", "rename"):
        card = session.get(Card, key)
        if card is None:
            return
        if name == "hide":
            card.admin_only = yes
        elif name == "write":
            card.place = (card.place or 0) + 1
        elif name == "delete":
            session.delete(card)
        elif session.get(Card, other) is None:
            card.id = other
        if name != "write":  # whose flush is left to whatever comes next
            session.flush()
    elif name == "hide all":
        session.execute(update(Card).values(admin_only=yes))
    elif name == "delete some":
        session.execute(delete(Card).where(Card.id >= key))
    elif name == "flush":
        session.flush()
    elif name == "expire":
        session.flush()
        session.expire_all()
    elif name == "begin" and len(savepoints) < 3:
        savepoints.append(session.begin_nested())
    elif name == "release" and savepoints:
        savepoints.pop().commit()
    elif name == "undo" and savepoints:
        savepoints.pop().rollback()
    elif name in ("commit", "rollback"):
        savepoints.clear()
        getattr(session, name)()


@pytest.mark.parametrize("seed", range(4))
def test_who_replays_what_is_told_sees_what_is_there(layer: ShmChannelLayer, seed: int) -> None:
    random = Random(seed)
    clients = {group: Client(group) for group in ("admins", "others")}
    savepoints: list[Any] = []
    actions: set[str] = set()
    with make_session() as session:
        for _ in range(STEPS):
            operation = some_operation(random)
            apply(session, savepoints, operation)
            told = payloads(layer)
            assert told == [] or operation[0] == "commit"
            for group, payload in told:
                clients[group].hear(payload)
                actions.add(payload["action"])
            if operation[0] in ("commit", "rollback"):
                with Session(engine) as reader:
                    rows = {card.id: ((card.text, card.place), card.admin_only) for card in reader.scalars(select(Card))}
                assert clients["admins"].rows == {key: row for key, (row, _) in rows.items()}
                assert clients["others"].rows == {key: row for key, (row, hidden) in rows.items() if not hidden}
    assert actions == {"create", "update", "delete"}
