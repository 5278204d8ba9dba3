"""http_session: which session a message is of, and when it is saved."""

import logging
from typing import Any

import pytest

from shmchan import Message
from shmchan.layers import InMemoryChannelLayer
from shmchan.sessions import SessionStore, channel_and_http_session, http_session
from shmchan.sessions.request import cookies_of, session_key_of

LAYER = InMemoryChannelLayer()


def message(cookie: str | None = None, query: bytes = b"", channel: str = "websocket.connect", **content: Any) -> Any:
    headers = [] if cookie is None else [[b"host", b"x"], [b"cookie", cookie.encode("latin-1")]]
    handshake = {"headers": headers, "query_string": query} if channel != "websocket.receive" else {}
    return Message({"reply_channel": "r!x", **handshake, **content}, channel, LAYER)


@http_session
def count(message: Any) -> Any:
    if message.http_session is not None:
        message.http_session["n"] = message.http_session.get("n", 0) + 1
    return message.http_session


def test_it_comes_from_the_cookie_else_from_the_query() -> None:
    key = SessionStore.create().session_key
    other = SessionStore.create().session_key
    assert count(message(f"a=b; sessionid={key}; c=d")) == {"n": 1}
    assert count(message(f"sessionid={key}", f"session_key={other}".encode())) == {"n": 2}
    assert count(message(None, f"x=1&session_key={other}".encode())) == {"n": 1}
    assert SessionStore(key) == {"n": 2}
    assert SessionStore(other) == {"n": 1}


@pytest.mark.parametrize("one", [message(), message("sessionid="), message("a"), message(channel="websocket.receive")])
def test_without_one_it_is_none(one: Any) -> None:
    assert count(one) is None


def test_it_is_not_saved_after_an_exception() -> None:
    @http_session
    def fail(message: Any) -> None:
        message.http_session["n"] = 1
        raise RuntimeError("on purpose")

    key = SessionStore.create().session_key
    with pytest.raises(RuntimeError, match="on purpose"):
        fail(message(f"sessionid={key}"))
    assert SessionStore(key) == {}


def test_changes_to_a_session_that_is_gone_are_lost_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    @http_session
    def change(message: Any) -> None:
        SessionStore(message.http_session.session_key).delete()
        message.http_session["n"] = 1

    key = SessionStore.create().session_key
    caplog.set_level(logging.WARNING)
    change(message(f"sessionid={key}"))
    assert SessionStore(key) == {}
    assert "are lost" in caplog.text


def test_both_sessions_are_there_in_receive() -> None:
    seen: list[Any] = []

    @channel_and_http_session
    def consumer(message: Any) -> None:
        message.channel_session["n"] = message.channel_session.get("n", 0) + 1
        if message.http_session is not None:
            message.http_session["n"] = message.http_session.get("n", 0) + 1
        seen.append((message.channel_session["n"], None if message.http_session is None else message.http_session["n"]))

    key = SessionStore.create().session_key
    for one in (message(f"sessionid={key}"), message(channel="websocket.receive"), message(channel="websocket.receive")):
        consumer(one)
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert SessionStore(key) == {"n": 3}
    consumer(message(channel="websocket.receive", reply_channel="r!other"))
    assert seen[-1] == (1, None)


def test_cookies_are_read_as_browsers_write_them() -> None:
    headers = [[b"cookie", b'a="1 2"; b=x=y ;junk; c='], [b"cookie", b"a=second; d=\xe9"], [b"other", b"e=1"]]
    assert cookies_of(headers) == {"a": "1 2", "b": "x=y", "c": "", "d": "\xe9"}
    assert cookies_of(None) == {}
    assert session_key_of(message(query=b"session_key=a%2Fb&session_key=c")) == "a/b"
