"""
Sessions in an SQLite file.

Owns the file. It holds only hashes of the keys, so that who reads it cannot use what is in it. One connection in each process,
made when it is needed and again after a fork; several processes may use the file at once (WAL).
"""

import hashlib
import os
import secrets
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from shmchan.layers import wire
from shmchan.sessions.store import SessionGone

TIMEOUT = 10.0  # seconds that one waits for the others
_PURGE = 100  # expired sessions that one new one clears away
_TABLES = """
create table if not exists session (key blob primary key, content blob not null, expires_at real not null) without rowid;
create index if not exists session_by_expiry on session (expires_at);
"""
_inherited: list[sqlite3.Connection] = []  # of a parent process: SQLite forbids even closing them in the child


class SqliteEngine:
    """
    Keeps sessions in a file that only its owner may read.

    Args:
        path: the file; it and its folder are made if they are not there.
        max_age: seconds that a session lives after it was saved.
    """

    def __init__(self, path: str | Path, max_age: float) -> None:
        self.path = Path(path)
        self.max_age = max_age
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    def load(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            query = "select content from session where key = ? and expires_at > ?"
            row = self._open().execute(query, (_hash(key), time.time())).fetchone()
        return None if row is None else wire.decode(row[0])

    def save(self, key: str | None, content: dict[str, Any]) -> str:
        data, now = wire.encode(content, 1 << 30), time.time()
        with self._lock, self._open() as connection:
            if key is not None:
                statement = "update session set content = ?, expires_at = ? where key = ? and expires_at > ?"
                if connection.execute(statement, (data, now + self.max_age, _hash(key), now)).rowcount:
                    return key
                raise SessionGone("the session was deleted or has expired since it was read; nothing was saved")
            key = secrets.token_urlsafe(32)
            connection.execute("insert into session values (?, ?, ?)", (_hash(key), data, now + self.max_age))
            old = "select key from session where expires_at <= ? limit ?"
            connection.execute(f"delete from session where key in ({old})", (now, _PURGE))
            return key

    def delete(self, key: str) -> None:
        with self._lock, self._open() as connection:
            connection.execute("delete from session where key = ?", (_hash(key),))

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid != os.getpid():
            _inherited.append(self._connection)
            self._connection = None
        if self._connection is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(self.path, timeout=TIMEOUT, check_same_thread=False)
            _write_ahead(self._connection)
            self._connection.execute("pragma synchronous = normal")
            self._connection.executescript(_TABLES)
            self._pid = os.getpid()
        return self._connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """
    Have the file use a write-ahead log.

    Where several processes open a new file at once, SQLite tells all but one that it is locked without waiting for its timeout.
    Source: SQLite documentation, "PRAGMA journal_mode" and sqlite3_busy_handler().
    """
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.002)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
