"""The code in docs/binding.md runs as it stands there, and its messages are those that are sent."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.pool import StaticPool

from shmchan import Group, route_class
from shmchan.binding import backends
from shmchan.binding.sqlalchemy import sessions as attached
from shmchan.generic.websockets import WebsocketDemultiplexer
from shmchan.layers.shm import ShmChannelLayer
from shmchan.testing import WSClient, apply_routes

TEXT = (Path(__file__).parents[2] / "docs" / "binding.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
MESSAGES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]


class Base(DeclarativeBase):
    pass


class Board(Base):
    __tablename__ = "page_board"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class Card(Base):
    __tablename__ = "page_card"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    column: Mapped[str]
    admin_only: Mapped[bool] = mapped_column(default=False)
    board_id: Mapped[int] = mapped_column(ForeignKey("page_board.id"))
    board: Mapped[Board] = relationship()


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """What the page's code defines."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    found: dict[str, Any] = {"__name__": "binding_page", "engine": engine, "Card": Card}
    found.update(WebsocketDemultiplexer=WebsocketDemultiplexer, route_class=route_class)
    known, before = backends.registered(), list(attached._factories)
    try:
        exec(compile("\n".join(CODE), "docs/binding.md", "exec"), found)
        attached._factories[:] = [found["sessions"]]
        yield found
    finally:
        attached._factories[:] = before
        for binding in backends.registered():
            if binding not in known:
                backends.forget(binding)
        engine.dispose()


def test_the_pages_code_sends_what_the_page_says(shmchan_layer: ShmChannelLayer, names: dict[str, Any]) -> None:
    change, batch, refusal = MESSAGES
    Group("others").add("page!x")

    def told() -> Any:
        content = shmchan_layer.receive(["page!"])[1]
        return None if content is None else json.loads(content["text"])

    with names["sessions"].begin() as session:
        session.add(Card(id=7, title="…", column="doing", board=Board(title="b")))
    assert told()["payload"]["action"] == "create"
    with names["sessions"].begin() as session:
        session.get(Card, 7).column = "done"
    update = told()
    assert update["payload"]["data"].pop("board.title") == "b"
    assert update["payload"]["data"].pop("admin_only") is False
    assert update == change
    with names["sessions"].begin() as session:
        session.add_all(Card(title="t", column="done", board_id=1) for _ in range(20))
    assert set(told()["payload"]) == set(batch)
    with apply_routes(names["routing"]):
        client = WSClient()
        client.send("websocket.receive", text={"stream": "cards", "payload": {"action": "update", "pk": 7, "ref": "r1"}})
        client.consume("websocket.receive")
        assert set(client.receive()["payload"]) == set(refusal)
