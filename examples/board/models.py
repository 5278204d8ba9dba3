"""
The cards, in SQLite, and the people.

Owns the tables and the sessions, which are attached to the bindings: a commit anywhere is heard by the browsers. The file is
``BOARD_DB``, else ``board.db`` beside the instance's sessions. The workers run it, and any other process that imports it.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Enum, String, create_engine, event, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from shmchan.binding.sqlalchemy import attach
from shmchan.sessions.store import default_path

COLUMNS = ("todo", "doing", "done")
COLOURS = ("sand", "rose", "mint", "sky")
GAP = 1024.0  # between the places of two cards, so that others fit in between
WELCOME = (
    ("todo", "sky", "Drag me to another column", "Every window that shows this board moves me, too.", False),
    ("todo", "sand", "Write a card", "The plus in each column starts one.", False),
    ("doing", "rose", "Only admins see this one", "Ada is one. When she shows it to all, it appears for the others.", True),
    ("done", "mint", "Open a second window", "Choose somebody else there.", False),
)


@dataclass(frozen=True)
class Person:
    """Somebody who may use the board. A real application would ask for a password, and keep them in a table."""

    id: str
    name: str
    is_admin: bool = False
    is_authenticated: bool = True


PEOPLE = {person.id: person for person in (Person("ada", "Ada", is_admin=True), Person("grace", "Grace"), Person("alan", "Alan"))}


class Base(DeclarativeBase):
    """The root of the tables here."""


class Card(Base):
    """
    One card.

    ``place`` orders the cards of a column. ``version`` counts the changes: SQLAlchemy refuses the second of two that meet, and a
    browser tells by it which of two messages is older.
    """

    __tablename__ = "card"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(120))
    note: Mapped[str] = mapped_column(String(2000), default="")
    column: Mapped[str] = mapped_column(Enum(*COLUMNS, native_enum=False), default="todo", name="list")
    colour: Mapped[str] = mapped_column(Enum(*COLOURS, native_enum=False), default="sand")
    place: Mapped[float] = mapped_column(default=0.0)
    admin_only: Mapped[bool] = mapped_column(default=False)
    author: Mapped[str] = mapped_column(String(30), default="")
    changed: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC).replace(tzinfo=None))
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - read once, by SQLAlchemy


def find_person(person_id: object) -> Person | None:
    """The user loader."""
    return PEOPLE.get(str(person_id))


def is_visible(person: Person, card_id: int) -> bool:
    """Whether somebody sees this card."""
    with sessions() as session:
        card = session.get(Card, card_id)
        return card is not None and (person.is_admin or not card.admin_only)


def visible_to(person: Person) -> list[Card]:
    """The cards that somebody sees now, in the order of their columns."""
    with sessions() as session:
        query = select(Card).order_by(Card.place, Card.id)
        if not person.is_admin:
            query = query.where(~Card.admin_only)
        return list(session.scalars(query))


def add(title: str, column: str = "todo", admin_only: bool = False, note: str = "", author: str = "") -> None:
    """Put a new card at the end of a column; from any process."""
    with sessions.begin() as session:
        last = session.scalar(select(func.max(Card.place)).where(Card.column == column))
        place = (last or 0.0) + GAP
        session.add(Card(title=title, column=column, admin_only=admin_only, note=note, author=author, place=place))


def make_tables() -> None:
    """Make the tables, and a few cards, where there are none; any number of processes may do so at once."""
    with engine.begin() as connection:
        if engine.dialect.has_table(connection, Card.__tablename__):
            return
        Base.metadata.create_all(connection)
        with Session(connection) as session:  # not attached: nobody sees the board yet
            for number, (column, colour, title, note, secret) in enumerate(WELCOME, 1):
                card = Card(title=title, column=column, colour=colour, note=note, admin_only=secret, author="shmchan")
                card.place = number * GAP
                session.add(card)
            session.commit()


def database_path() -> Path:
    """Where the cards are."""
    path = Path(os.environ.get("BOARD_DB") or default_path().with_name("board.db"))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


engine = create_engine(f"sqlite:///{database_path()}", connect_args={"timeout": 30})


@event.listens_for(engine, "connect")
def _leave_transactions_to_us(connection: Any, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def _begin_at_once(connection: Connection) -> None:
    """A transaction that may write waits for its turn here, and not half way, where SQLite could only fail."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


sessions: sessionmaker[Session] = sessionmaker(engine, expire_on_commit=False)
attach(sessions)
make_tables()
