"""
Users: whose message it is.

Owns the user's id in sessions and the way from it to the application's user object. It never checks a password and stores no
user: the application does both. Workers, test clients and WSGI applications run it.
"""

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shmchan.exceptions import AppError
from shmchan.message import Message
from shmchan.sessions.connection import channel_session
from shmchan.sessions.request import channel_and_http_session, http_session
from shmchan.sessions.session import Consumer, Session, decorated
from shmchan.sessions.store import SessionStore

USER_ID = "_auth_user_id"
"""The key of a session under which its user's id is."""

log = logging.getLogger("shmchan.worker")
UserLoader = Callable[[Any], Any]


class AnonymousUser:
    """Nobody in particular, with the attributes that Django's has: ``is_anonymous`` is True. All of them are equal."""

    id = None
    pk = None
    username = ""
    is_authenticated = False
    is_anonymous = True
    is_active = False
    is_staff = False
    is_superuser = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnonymousUser)

    def __hash__(self) -> int:
        return 1

    def __str__(self) -> str:
        return "AnonymousUser"

    __repr__ = __str__


_loader: UserLoader | None = None
_anonymous: Callable[[], Any] = AnonymousUser


def set_user_loader(loader: str | UserLoader | None, anonymous: Callable[[], Any] = AnonymousUser) -> None:
    """
    Say where users come from.

    Args:
        loader: ``function(user_id) -> user | None``, "pkg.module:function", or None for nowhere.
        anonymous: makes who nobody in particular is.

    Raises:
        AppError: nothing callable has this name.
    """
    global _loader, _anonymous
    _loader = _find(loader) if isinstance(loader, str) else loader
    _anonymous = anonymous


@contextmanager
def kept_user_loader() -> Iterator[None]:
    """Put back at the end who was the user loader before: what is around a test, so that its own is the next one's no more."""
    global _loader, _anonymous
    before = _loader, _anonymous
    try:
        yield
    finally:
        _loader, _anonymous = before


def get_user(user_id: Any) -> Any:
    """The user of this id, as the loader knows it; nobody for None, for one that is unknown, and without a loader."""
    if user_id is None:
        return _anonymous()
    if _loader is None:
        log.warning("a session has a user, but nobody says who that is; run with --user-loader pkg.module:function")
        return _anonymous()
    user = _loader(user_id)
    return _anonymous() if user is None else user


def login(session: Session, user_id: str | int) -> None:
    """
    Note in a session who its user is. A browser's session is saved under a new key, so that nobody who planted or saw the old one
    is logged in with it; what another user left in it is removed.

    Args:
        session: an http_session, a channel_session or a `SessionStore`.
        user_id: what the user loader is called with.

    Raises:
        TypeError: user_id is no str and no int.
    """
    if type(user_id) not in (str, int):
        raise TypeError(f"a user's id is a str or an int, not {user_id!r}; convert it, and convert it back in the user loader")
    if session.get(USER_ID, user_id) != user_id:
        session.flush()
    session[USER_ID] = user_id
    if isinstance(session, SessionStore):
        session.cycle_key()


def logout(session: Session) -> None:
    """Forget the user and everything else in a session; a browser's session leads nowhere any more."""
    session.flush()


def transfer_user(from_session: Session, to_session: Session) -> None:
    """Note in one session the user of another; nothing happens if that has none."""
    if USER_ID in from_session:
        to_session[USER_ID] = from_session[USER_ID]


def channel_session_user(func: Consumer) -> Consumer:
    """Give a consumer ``message.channel_session``, and the ``message.user`` that is noted there."""
    return channel_session(decorated(func, lambda message: _user_from(message, "channel_session")))


def http_session_user(func: Consumer) -> Consumer:
    """Give a consumer ``message.http_session``, and the ``message.user`` that is noted there."""
    return http_session(decorated(func, lambda message: _user_from(message, "http_session")))


def channel_session_user_from_http(func: Consumer) -> Consumer:
    """As `channel_session_user`; the user of the handshake's http_session is noted in the channel session first."""
    return http_session(channel_session(decorated(func, _transferred)))


def channel_and_http_session_user_from_http(func: Consumer) -> Consumer:
    """As `channel_session_user_from_http`, with ``message.http_session`` also where there is no handshake any more."""
    return channel_and_http_session(decorated(func, _transferred))


@contextmanager
def _user_from(message: Message, session: str) -> Iterator[None]:
    if getattr(message, "user", None) is None:
        found: Session | None = getattr(message, session)
        message.user = get_user(None if found is None else found.get(USER_ID))
    yield


@contextmanager
def _transferred(message: Message) -> Iterator[None]:
    from_session: Session | None = message.http_session
    if from_session is not None and "headers" in message:  # the handshake's; later it would undo a login or logout here
        transfer_user(from_session, message.channel_session)
    with _user_from(message, "channel_session"):
        yield


def _find(path: str) -> UserLoader:
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise AppError(f"the user loader {path!r} is no pkg.module:function; write its module, a colon and its name")
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise AppError(f"the user loader {path!r} cannot be found: {error}") from error
    if not callable(found):
        raise AppError(f"the user loader {path!r} is no function: {found!r}")
    loader: UserLoader = found
    return loader
