"""SessionMiddleware: a browser's session in a WSGI application."""

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from shmchan.auth import login, logout
from shmchan.sessions import SessionMiddleware, SessionStore

Change = Callable[[SessionStore], object]


def application(change: Change, status: str = "200 OK", late: Change = lambda session: None) -> SessionMiddleware:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        change(environ["shmchan.session"])
        start_response(status, [("Content-Type", "text/plain")])
        yield b"body"
        late(environ["shmchan.session"])

    return SessionMiddleware(app)


def request(app: SessionMiddleware, cookie: str | None = None, **environ: str) -> str:
    """The Set-Cookie of an answer, or nothing."""
    asked: dict[str, Any] = {"QUERY_STRING": "", **environ, **({} if cookie is None else {"HTTP_COOKIE": f"sessionid={cookie}"})}
    setup_testing_defaults(asked)
    answers: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        answers.append(dict(headers))
        return lambda data: None

    body: Any = validator(app)(asked, start_response)
    assert list(body) == [b"body"]
    body.close()
    found: str = answers[0].get("Set-Cookie", "")
    return found


def key_in(cookie: str) -> str:
    return cookie.split(";")[0].partition("=")[2]


def test_a_session_that_is_used_gets_a_cookie_and_one_that_is_not_gets_none() -> None:
    assert request(application(lambda session: None)) == ""
    cookie = request(application(lambda session: session.update(n=1)))
    assert SessionStore(key_in(cookie)) == {"n": 1}
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "samesite=lax", "path=/", "max-age=1000"}
    https = request(application(lambda session: session.update(n=1)), **{"wsgi.url_scheme": "https"})
    assert "Secure" in https


def test_a_session_goes_on() -> None:
    key = key_in(request(application(lambda session: session.update(n=1))))
    assert request(application(lambda session: session.update(n=session["n"] + 1)), key) == ""
    assert SessionStore(key) == {"n": 2}


def test_a_login_sends_a_new_key_and_a_logout_takes_the_cookie_away() -> None:
    key = key_in(request(application(lambda session: session.update(n=1))))
    new = key_in(request(application(lambda session: login(session, 7)), key))
    assert new not in ("", key)
    assert SessionStore(key) == {}
    gone = request(application(logout), new)
    assert key_in(gone) in ("", '""')
    assert "max-age=0" in gone.lower()
    assert SessionStore(new) == {}


def test_nothing_is_saved_with_an_error() -> None:
    assert request(application(lambda session: session.update(n=1), "500 Oops")) == ""
    key = SessionStore.create().session_key
    request(application(lambda session: session.update(n=1), "503 Oops"), key)
    assert SessionStore(key) == {}


def test_changes_after_the_start_of_the_response_are_saved_if_there_is_a_key(caplog: pytest.LogCaptureFixture) -> None:
    key = SessionStore.create().session_key
    request(application(lambda session: None, late=lambda session: session.update(n=2)), key)
    assert SessionStore(key) == {"n": 2}
    request(application(lambda session: None, late=lambda session: session.update(n=2)))
    assert "cannot be told its key" in caplog.text


def test_a_planted_cookie_is_replaced() -> None:
    cookie = key_in(request(application(lambda session: session.update(n=1)), "planted"))
    assert cookie not in ("", "planted")
    assert key_in(request(application(lambda session: None), "planted")) in ("", '""')


def test_changes_to_a_session_that_is_gone_are_lost(caplog: pytest.LogCaptureFixture) -> None:
    key = SessionStore.create().session_key

    def change(session: SessionStore) -> None:
        SessionStore(key).delete()
        session["n"] = 1

    assert "max-age=0" in request(application(change), key).lower()
    assert "are lost" in caplog.text
