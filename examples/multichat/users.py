"""
The users: a small SQLite database with their names and the hashes of their passwords.

Owns that file. It never stores a password, and never says which of name and password was wrong. The workers run it; the first
that starts makes the two demo users. More are made by ``python -m examples.multichat NAME [--staff]``.
"""

import base64
import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from shmchan.sessions.store import default_path

DEMO = (("ada", "jacquard loom", True), ("grace", "nanoseconds", False))
"""Name, password, whether staff: the login page shows these, as long as they are as they were made."""

LONGEST_NAME = 30
COST = {"n": 2**14, "r": 8, "p": 5}  # of scrypt: 16 MiB, about 0.2 s
TABLES = """
create table if not exists user (
    id integer primary key, name text unique not null collate nocase, password text not null, is_staff integer not null,
    is_demo integer not null
)
"""


@dataclass(frozen=True)
class User:
    """Somebody who may log in."""

    id: int
    name: str
    is_staff: bool
    is_authenticated: ClassVar[bool] = True


class NameTaken(Exception):
    """There is a user of this name."""


def state_folder() -> Path:
    """Where the databases are: ``MULTICHAT_STATE``, else the folder where shmchan keeps the sessions of this instance."""
    chosen = os.environ.get("MULTICHAT_STATE")
    return Path(chosen) if chosen else default_path().parent


def prepare() -> None:
    """Make the database, and in a new one the demo users."""
    path = state_folder() / "multichat.db"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with database() as connection:
        connection.execute("begin immediate")  # several workers come at once, and one of them does it
        connection.execute(TABLES)
        if connection.execute("select 1 from user").fetchone() is None:
            for name, password, is_staff in DEMO:
                insert(connection, name, password, is_staff, is_demo=True)


def add(name: str, password: str, is_staff: bool) -> None:
    """
    Make a user.

    Raises:
        ValueError: the name or the password is empty, or the name is too long or not printable.
        NameTaken: there is one of this name.
    """
    name = name.strip()
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable() and password):
        raise ValueError(f"a user has a printable name of 1 to {LONGEST_NAME} characters and a password")
    try:
        with database() as connection:
            insert(connection, name, password, is_staff, is_demo=False)
    except sqlite3.IntegrityError:
        raise NameTaken(f"there is a user {name!r}; choose another name") from None


def load(user_id: int) -> User | None:
    """The user of an id; None if there is none (any more). This is the user loader."""
    with database() as connection:
        row = connection.execute("select id, name, is_staff from user where id = ?", (user_id,)).fetchone()
    return None if row is None else User(row[0], row[1], bool(row[2]))


def authenticate(name: str, password: str) -> User | None:
    """The user of this name, if the password is theirs. It takes as long when there is no such user."""
    with database() as connection:
        row = connection.execute("select id, password from user where name = ?", (name.strip(),)).fetchone()
    right = matches(password, NOBODYS if row is None else row[1])
    return load(row[0]) if right and row is not None else None


def demo_users() -> list[tuple[str, str, bool]]:
    """Those of `DEMO` that are there."""
    with database() as connection:
        names = {row[0] for row in connection.execute("select name from user where is_demo")}
    return [demo for demo in DEMO if demo[0] in names]


def insert(connection: sqlite3.Connection, name: str, password: str, is_staff: bool, is_demo: bool) -> None:
    statement = "insert into user (name, password, is_staff, is_demo) values (?, ?, ?, ?)"
    connection.execute(statement, (name, hashed(password), is_staff, is_demo))


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, so that threads, workers and forks have nothing in common."""
    with closing(sqlite3.connect(state_folder() / "multichat.db", timeout=10)) as connection, connection:
        yield connection


def hashed(password: str) -> str:
    """What is stored: the salt and the hash."""
    salt = secrets.token_bytes(16)
    return base64.b64encode(salt + scrypt(password, salt)).decode()


def matches(password: str, stored: str) -> bool:
    """Whether a password is the one that was hashed."""
    data = base64.b64decode(stored)
    return hmac.compare_digest(scrypt(password, data[:16]), data[16:])


def scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, **COST)


NOBODYS = base64.b64encode(bytes(16) + bytes(64)).decode()  # the hash of no password
