"""
`SessionStore`: a browser's session, and where all of them are kept.

Owns the choice of the engine, and what a session does when its key is unknown, changes or is gone. The engines are in modules of
their own. Workers and WSGI applications run it, also outside of shmchan's processes.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shmchan.exceptions import ShmchanError
from shmchan.sessions.session import Session
from shmchan.state import state_folder

TWO_WEEKS = 14 * 86400


class Engine(Protocol):
    """Where sessions are kept. A key is what the browser holds, so whoever makes one makes it unguessable."""

    max_age: float

    def load(self, key: str) -> dict[str, Any] | None:
        """What is stored under a key; None if there is nothing, or it is older than max_age seconds."""

    def save(self, key: str | None, content: dict[str, Any]) -> str:
        """Store it under this key, or under a new one if it is None. Raises SessionGone. Returns the key."""

    def delete(self, key: str) -> None:
        """Remove what is stored under a key, if anything is."""


class SessionGone(ShmchanError):
    """A session was deleted or has expired since it was read, perhaps because its user logged out; nothing was saved."""


@dataclass
class Settings:
    """
    How sessions are kept in this process.

    Attributes:
        engine: where; None: the SQLite file of `default_path`, opened when it is needed.
        cookie_name: the cookie with the session's key.
    """

    engine: Engine | None = None
    cookie_name: str = "sessionid"


settings = Settings()
_lock = threading.Lock()


def use_sessions(
    engine: str | Engine = "sqlite",
    *,
    path: str | Path | None = None,
    secret: str | None = None,
    max_age: float = TWO_WEEKS,
    cookie_name: str = "sessionid",
) -> None:
    """
    Choose where the sessions of browsers are kept; call it where the application is imported.

    Args:
        engine: "sqlite" (the default), "signed_cookies", or an object like `Engine`.
        path: of the SQLite file.
        secret: what cookies are signed with, at least 16 characters; ``SHMCHAN_SECRET`` if it is not given.
        max_age: seconds that a session lives after it was saved.
        cookie_name: the cookie with the session's key.

    Raises:
        ValueError: there is no such engine, or no secret that is long enough.
    """
    chosen: Engine
    if engine == "sqlite":
        from shmchan.sessions.sqlite import SqliteEngine

        chosen = SqliteEngine(path or default_path(), max_age)
    elif engine == "signed_cookies":
        from shmchan.sessions.signed import SignedEngine

        chosen = SignedEngine(secret or os.environ.get("SHMCHAN_SECRET", ""), max_age)
    elif isinstance(engine, str):
        raise ValueError(
            f'sessions are kept by "sqlite", "signed_cookies" or an object with load, save and delete, not {engine!r}'
        )
    else:
        chosen = engine
    with _lock:
        settings.engine = chosen
        settings.cookie_name = cookie_name


def default_engine() -> Engine:
    """What `use_sessions` chose, else the SQLite file of `default_path`."""
    if settings.engine is None:
        use_sessions(cookie_name=settings.cookie_name)
    assert settings.engine is not None
    return settings.engine


def default_path() -> Path:
    """``sessions.db`` in the state folder of the instance: `shmchan.state.state_folder`; ``SHMCHAN_NAME``, else ``default``."""
    return state_folder(os.environ.get("SHMCHAN_NAME", "default")) / "sessions.db"


class SessionStore(Session):
    """
    The session of one browser.

    Args:
        session_key: what its cookie says. A key that nobody made, or that has expired, is not taken over: the session is empty,
            and gets a key of its own when it is saved.
        engine: where it is kept; None: what `use_sessions` chose.
    """

    def __init__(self, session_key: str | None = None, engine: Engine | None = None) -> None:
        self.engine = default_engine() if engine is None else engine
        self.session_key = session_key
        super().__init__(self._read())

    @classmethod
    def create(cls, engine: Engine | None = None) -> "SessionStore":
        """A new session, saved, so that it has a key."""
        session = cls(engine=engine)
        session.save()
        return session

    def cycle_key(self) -> None:
        """Save it under a new key; the old one leads nowhere, so that whoever planted or saw it has nothing of it."""
        old, self.session_key = self.session_key, None
        self.save()
        if old is not None:
            self.engine.delete(old)

    def delete(self) -> None:
        if self.session_key is not None:
            self.engine.delete(self.session_key)
            self.session_key = None

    def _read(self) -> dict[str, Any]:
        content = None if self.session_key is None else self.engine.load(self.session_key)
        if content is None:
            self.session_key = None
            return {}
        return content

    def _write(self) -> None:
        self.session_key = self.engine.save(self.session_key, dict(self))
