"""
`SessionMiddleware`: the same sessions for a WSGI application.

Owns the cookie. The session is in the environ as ``shmchan.session``. Whatever process runs the application runs it.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any

from shmchan.sessions.request import cookies_of
from shmchan.sessions.store import SessionGone, SessionStore, settings

ENVIRON_KEY = "shmchan.session"
log = logging.getLogger("shmchan.worker")
WsgiApp = Callable[..., Iterable[bytes]]


class SessionMiddleware:
    """
    Gives a WSGI application a `SessionStore` in ``environ["shmchan.session"]``.

    It is saved, and its cookie set, when the application starts its response, if it was changed; what it changes later is saved
    when the response ends, if it had a key by then. Nothing is saved with a response of 500 or more. A session that was
    emptied by ``flush()`` is forgotten by the browser, too.

    Args:
        wsgi_app: the application.
        path: of the cookie.
        secure: whether the cookie is for https only; None: as the request was.
        samesite: "Lax", "Strict" or "None".
    """

    def __init__(self, wsgi_app: WsgiApp, *, path: str = "/", secure: bool | None = None, samesite: str = "Lax") -> None:
        self.wsgi_app = wsgi_app
        self.path = path
        self.secure = secure
        self.samesite = samesite

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        header = environ.get("HTTP_COOKIE", "")
        key = cookies_of([[b"cookie", header.encode("latin-1")]]).get(settings.cookie_name)
        session = environ[ENVIRON_KEY] = SessionStore(key)
        failed = False

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal failed
            failed = status[:1] == "5"
            if not failed:
                headers = [*headers, *self._finish(session, key, environ)]
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return _Body(self.wsgi_app(environ, start), lambda: _save_late(session) if not failed else None)

    def _finish(self, session: SessionStore, key: str | None, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Save the session; the headers that tell the browser."""
        had = session.session_key
        if session.modified:
            try:
                session.save()
            except SessionGone as gone:
                log.warning("changes to a session are lost: %s", gone)
                session.session_key = None
        headers = [("Vary", "Cookie")]
        if session.session_key is None:
            if key is not None:
                headers.append(("Set-Cookie", self._cookie("", 0, environ)))
        elif session.session_key != key or had != session.session_key:
            headers.append(("Set-Cookie", self._cookie(session.session_key, int(session.engine.max_age), environ)))
        return headers

    def _cookie(self, value: str, max_age: int, environ: dict[str, Any]) -> str:
        cookie: Morsel[str] = Morsel()
        try:
            cookie.set(settings.cookie_name, value, SimpleCookie().value_encode(value)[1])
        except CookieError as error:
            raise ValueError(f"the cookie's name {settings.cookie_name!r} is not allowed: {error}") from error
        cookie.update({"path": self.path, "max-age": str(max_age), "samesite": self.samesite})
        cookie["httponly"] = True
        cookie["secure"] = environ.get("wsgi.url_scheme") == "https" if self.secure is None else self.secure
        return cookie.OutputString()


class _Body:
    """What the application returned, and what is left to do when the server is done with it."""

    def __init__(self, body: Iterable[bytes], at_end: Callable[[], object]) -> None:
        self._body = body
        self._at_end = at_end

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._at_end()


def _save_late(session: SessionStore) -> None:
    if session.modified:
        if session.session_key is None:
            log.warning(
                "a session was changed for the first time after its response had started; the browser cannot be told its key"
            )
            return
        try:
            session.save()
        except SessionGone as gone:
            log.warning("changes to a session are lost: %s", gone)
