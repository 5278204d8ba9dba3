"""Models and bindings for the tests of this folder, on SQLite, and who hears what of them."""

import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import JSON, Connection, ForeignKey, String, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker
from sqlalchemy.pool import StaticPool

from shmchan import Group
from shmchan.binding.sqlalchemy import attach
from shmchan.binding.websockets import WebsocketBinding
from shmchan.layers.shm import ShmChannelLayer

QUEUE = "binding.test!"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Base(DeclarativeBase):
    pass


class Board(Base):
    __tablename__ = "board"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(20))
    cards: Mapped[list["Card"]] = relationship(back_populates="board", cascade="all, delete-orphan")


class Card(Base):
    __tablename__ = "card"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(20))
    admin_only: Mapped[bool] = mapped_column(default=False)
    place: Mapped[int | None]
    board_id: Mapped[int | None] = mapped_column(ForeignKey("board.id"))
    board: Mapped[Board | None] = relationship(back_populates="cards")

    def shout(self) -> str:
        return self.text.upper()


class Thing(Base):
    """A key that is no number, and a column of each type."""

    __tablename__ = "thing"
    key: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    price: Mapped[decimal.Decimal | None]
    born: Mapped[datetime.datetime | None]
    day: Mapped[datetime.date | None]
    colour: Mapped[Colour | None]
    raw: Mapped[bytes | None]
    notes: Mapped[Any] = mapped_column(JSON, nullable=True)


class Seat(Base):
    """A key of two columns."""

    __tablename__ = "seat"
    row: Mapped[str] = mapped_column(String(5), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    taken_by: Mapped[str | None] = mapped_column(String(20))


class Vehicle(Base):
    __tablename__ = "vehicle"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "vehicle"}  # noqa: RUF012 - read once, by SQLAlchemy


class Wagon(Vehicle):
    """A table that continues another."""

    __tablename__ = "wagon"
    id: Mapped[int] = mapped_column(ForeignKey("vehicle.id"), primary_key=True)
    wheels: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "wagon"}  # noqa: RUF012 - read once, by SQLAlchemy


class CardBinding(WebsocketBinding):
    model = Card
    stream = "cards"
    fields = ("text", "admin_only", "place", "board.title")

    @classmethod
    def group_names(cls, instance: Card) -> list[str]:
        return ["admins"] if instance.admin_only else ["admins", "others"]

    def has_permission(self, user: Any, action: str, pk: int | None) -> bool:
        return pk != 13 and self.message.get("path") != "/guest"


class BoardBinding(WebsocketBinding):
    model = "tests.unit.binding.models.Board"
    stream = "boards"
    exclude = ()

    def group_names(self, instance: Board) -> Iterable[str]:
        return [f"board-{instance.title}"] if instance.title != "nobody" else []


class OpenBinding(WebsocketBinding):
    """Everybody hears of everything, and may do anything."""

    def group_names(self, instance: Any) -> Iterable[str]:
        return ["things"]

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        return True


class ThingBinding(OpenBinding):
    model = Thing
    stream = "things"
    fields = "__all__"

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        assert pk is None or isinstance(pk, uuid.UUID)
        return super().has_permission(user, action, pk)


class SeatBinding(OpenBinding):
    model = Seat
    stream = "seats"
    fields = "__all__"


class VehicleBinding(OpenBinding):
    model = Vehicle
    stream = "vehicles"
    fields = ("name",)


class WagonBinding(OpenBinding):
    model = Wagon
    stream = "wagons"
    fields = ("wheels",)


engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


@event.listens_for(engine, "connect")
def _leave_transactions_to_us(connection: Any, record: object) -> None:
    connection.isolation_level = None  # the driver's own would begin none before a SAVEPOINT


@event.listens_for(engine, "begin")
def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


make_session: sessionmaker[Session] = sessionmaker(engine)
attach(make_session)
attach(make_session)  # which changes nothing


def join(layer: ShmChannelLayer, *groups: str) -> None:
    """Listen to groups, each as a member of its own."""
    for group in groups:
        Group(group, channel_layer=layer).add(QUEUE + group)


def heard(layer: ShmChannelLayer) -> list[tuple[str, str, Any]]:
    """What the listeners got: ``(group, action, pk)``, in order."""
    return [(group, payload["action"], payload.get("pk")) for group, payload in payloads(layer)]


def payloads(layer: ShmChannelLayer) -> list[tuple[str, dict[str, Any]]]:
    """What the listeners got: ``(group, payload)``, in order."""
    found: list[tuple[str, dict[str, Any]]] = []
    while True:
        name, message = layer.receive([QUEUE])
        if name is None or message is None:
            return found
        found.append((name.removeprefix(QUEUE), json.loads(message["text"])["payload"]))
