"""
`http_session` and `channel_and_http_session`: the browser's session in a consumer.

Owns how a message says which session it is of, and when a consumer's changes are saved. It sets no cookie: a handshake may have
none. Workers and test clients run it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import parse_qs

from shmchan.message import Message
from shmchan.sessions.connection import channel_session
from shmchan.sessions.session import Consumer, decorated
from shmchan.sessions.store import SessionGone, SessionStore, settings

REMEMBERED = "_http_session_key"  # in the channel session
log = logging.getLogger("shmchan.worker")


def http_session(func: Consumer) -> Consumer:
    """
    Give a consumer ``message.http_session``: the `SessionStore` that the cookie names, else ``?session_key=``; None without one.

    For messages with the headers of a request: ``http.request`` and ``websocket.connect``. It is saved when the consumer is done,
    if it was changed, but not if the consumer raised.
    """
    return decorated(func, _scope)


def channel_and_http_session(func: Consumer) -> Consumer:
    """
    Give a consumer ``message.channel_session`` and ``message.http_session``, the latter also in ``websocket.receive`` and
    ``websocket.disconnect``: the channel session remembers which one it is. Put it on the connect consumer, too.
    """
    return channel_session(decorated(func, _scope_of_both))


def cookies_of(headers: object) -> dict[str, str]:
    """The cookies in a message's headers; of two with one name the first, which is the one with the longer path."""
    found: dict[str, str] = {}
    for name, value in headers if isinstance(headers, list) else ():
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, equals, text = part.strip().partition("=")
                if equals:
                    found.setdefault(key, text.strip().removeprefix('"').removesuffix('"'))
    return found


def session_key_of(message: Message) -> str | None:
    """The session key that the browser sent: in its cookie, else in the query string."""
    key = cookies_of(message.get("headers")).get(settings.cookie_name)
    if key:
        return key
    query = message.get("query_string")
    if isinstance(query, (bytes, str)):
        text = query.decode("latin-1") if isinstance(query, bytes) else query
        given = parse_qs(text).get("session_key")
        if given:
            return given[0]
    return None


@contextmanager
def _saved(session: SessionStore | None) -> Iterator[None]:
    """Save what a consumer changed, unless it raises."""
    yield
    if session is None or not session.modified:
        return
    key = session.session_key
    try:
        session.save()
    except SessionGone as gone:
        log.warning("a consumer's changes to an http_session are lost: %s", gone)
        return
    if session.session_key != key:
        log.warning(
            "an http_session was saved under a new key, which the browser is not told here; change it in an HTTP response"
        )


@contextmanager
def _scope(message: Message) -> Iterator[None]:
    if getattr(message, "http_session", None) is not None:
        yield  # an outer decorator's, who saves it
        return
    key = session_key_of(message)
    session = None if key is None else SessionStore(key)
    message.http_session = session
    with _saved(session):
        yield


@contextmanager
def _scope_of_both(message: Message) -> Iterator[None]:
    remembered = message.channel_session
    session: SessionStore | None = getattr(message, "http_session", None)
    ours = session is None
    if session is None:
        key = session_key_of(message) or remembered.get(REMEMBERED)
        session = None if key is None else SessionStore(key)
        message.http_session = session
    with _saved(session) if ours else nullcontext():
        yield
    if session is not None and session.session_key is not None:
        remembered[REMEMBERED] = session.session_key
