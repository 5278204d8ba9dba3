"""
Django's sessions as the sessions of browsers that consumers see.

Owns the way between a `SessionStore` of ours and one of ``SESSION_ENGINE``, whichever it is. What the setting says of cookies is
Django's own to do, since only its responses set them. Workers run it.
"""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError

from shmchan.sessions.store import SessionGone


class DjangoEngine:
    """An `Engine` over ``SESSION_ENGINE``."""

    def __init__(self) -> None:
        self.max_age = float(settings.SESSION_COOKIE_AGE)
        self._store: Any = import_module(settings.SESSION_ENGINE).SessionStore

    def load(self, key: str) -> dict[str, Any] | None:
        """What is stored under a key; without its user if Django does not accept that any more, as after a new password."""
        if not (key.isascii() and key.isprintable()):
            return None  # no engine makes such keys, and not every database takes them
        store = self._store(key)
        content = dict(store.load())
        if store.session_key != key:  # unknown, expired, or signed by somebody else
            return None
        return _without_user(content) if _has_other_user(self._store(key), content) else content

    def save(self, key: str | None, content: dict[str, Any]) -> str:
        """Store it under this key, or under a new one."""
        if key is not None and self.load(key) is None:
            raise SessionGone(f"the session {key!r} was deleted or has expired; make a new one")
        store = self._store(key)
        store.clear()
        store.update(content)
        try:
            if key is None:
                store.create()
            if store.session_key is None or key is not None:  # signed cookies have none before they are saved
                store.save()
        except UpdateError as error:
            raise SessionGone(f"the session {key!r} was deleted meanwhile; make a new one") from error
        new: str = store.session_key
        return new

    def delete(self, key: str) -> None:
        """Remove what is stored under a key."""
        self._store(key).delete(key)


def _has_other_user(store: Any, content: dict[str, Any]) -> bool:
    """Whether a session names a user whom Django would not take it for."""
    from django.contrib.auth import SESSION_KEY, get_user

    if SESSION_KEY not in content:
        return False
    return not get_user(SimpleNamespace(session=store)).is_authenticated


def _without_user(content: dict[str, Any]) -> dict[str, Any]:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

    of_the_user = (SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY)
    return {name: value for name, value in content.items() if name not in of_the_user}
