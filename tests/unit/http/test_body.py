"""The body of a request as a file, and what reading it raises."""

import threading

import pytest

from shmchan.exceptions import RequestAborted, RequestTimeout
from shmchan.http.body import open_body
from shmchan.message import Message

from .harness import WATCHDOG, Exchange

CHANNEL = "http.request.body?x"


def test_what_came_with_the_request_is_followed_by_the_pieces() -> None:
    exchange = Exchange(body=b"one\ntwo", body_channel=CHANNEL)
    exchange.send_body(b"\nth")
    exchange.send_body(b"")
    exchange.send_body(b"ree\nfour", more_content=False)
    body, _ = open_body(exchange.message)
    assert body.readline() == b"one\n"
    assert body.read(2) == b"tw"
    assert [*body] == [b"o\n", b"three\n", b"four"]
    assert body.read() == b""


def test_a_whole_body_needs_no_layer() -> None:
    body, _ = open_body(Message({"body": b"abc"}, "http.request"))
    assert body.read() == b"abc"
    with pytest.raises(ValueError, match="does not know of which layer"):
        open_body(Message({"body": b"", "body_channel": CHANNEL}, "http.request"))[0].read()


def test_reading_waits_for_the_client() -> None:
    exchange = Exchange(body=b"a", body_channel=CHANNEL)
    body, _ = open_body(exchange.message)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(body.read()))
    reader.start()
    exchange.send_body(b"b", more_content=False)
    reader.join(WATCHDOG)
    assert found == [b"ab"]


def test_a_client_that_left_raises_from_then_on() -> None:
    exchange = Exchange(body=b"a", body_channel=CHANNEL)
    exchange.send_body(b"b")
    exchange.send_body(closed=True, more_content=False)
    body, raw = open_body(exchange.message)
    assert body.read(2) == b"ab"
    for _ in range(2):
        with pytest.raises(RequestAborted):
            body.read(1)
    assert isinstance(raw.failure, RequestAborted)


def test_a_client_that_is_silent_raises() -> None:
    body, raw = open_body(Exchange(body_channel=CHANNEL).message, timeout=0.01)
    for _ in range(2):
        with pytest.raises(RequestTimeout, match=r"0\.01 s"):
            body.read(1)
    assert isinstance(raw.failure, RequestTimeout)


def test_what_nobody_reads_is_taken_out_of_the_channel() -> None:
    exchange = Exchange(body=b"a", body_channel=CHANNEL)
    for _ in range(3):
        exchange.send_body(b"piece")
    _, raw = open_body(exchange.message)
    raw.discard()
    assert exchange.layer.receive([CHANNEL]) == (None, None)
    exchange.send_body(closed=True, more_content=False)
    raw.discard()
    raw.discard()
    assert isinstance(raw.failure, RequestAborted)
