"""Bodies of HTTP/1.1 requests, fed whole, byte by byte, and with bytes after them; and who waits for what meanwhile."""

import pytest

from shmchan.protocol.http import BodyReceived, Disconnected, RequestReceived

from .http_harness import GET, HOST, connection, feed, status_of

BODIES = [
    (b"Content-Length: 5\r\n\r\nhello", b"hello"),
    (b"Content-Length: 0\r\n\r\n", b""),
    (b"content-length: 005\r\n\r\nhello", b"hello"),
    (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    (b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b'Transfer-Encoding: chunked\r\n\r\n00a;x=y;"q"\r\n0123456789\r\n1\r\n!\r\n000\r\nX-Trailer: 1\r\n\r\n', b"0123456789!"),
    (b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    (b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", b"a"),
]


@pytest.mark.parametrize("way", ["whole", "bytes", "trailing"])
@pytest.mark.parametrize(("rest", "body"), BODIES)
def test_a_body_is_handed_on_whole(rest: bytes, body: bytes, way: str) -> None:
    http = connection()
    tail = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
    feed(http, b"POST / HTTP/1.1\r\n" + HOST + rest + (tail if way == "trailing" else b""), way)
    (event,) = http.events()
    assert isinstance(event, RequestReceived)
    assert (event.body, event.more_body) == (body, False)
    http.send_response(200)
    events = http.events()
    if way == "trailing":
        assert isinstance(events[0], RequestReceived)
        assert events[0].head.path == "/next"
    else:
        assert events == []


CHUNKS = [
    b"g\r\n",
    b"-1\r\n",
    b"+1\r\n",
    b" 1\r\n",
    b"1 \r\n",
    b"1 ;x\r\n",
    b"0x1\r\n",
    b"\r\n",
    b"1\na\r\n",
    b"1\r\na\n",
    b"1\r\nab\r\n",
    b"1\r\na\rb",
    b"1;x\x00\r\n",
    b"1;x\ny\r\n",
    b"1;x\ry\r\n",
    b"fffffffffffffffff\r\n",
    b"1;" + b"x" * 5000,
    b"0\r\nno colon\r\n",
    b"0\r\n X: folded\r\n",
    b"0\r\nX : space\r\n",
    b"0\r\nX: nul\x00\r\n",
    b"0\r\nX: y\nZ: w\r\n",
]


@pytest.mark.parametrize("way", ["whole", "bytes"])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_bad_chunk_is_refused(chunk: bytes, way: str) -> None:
    http = connection()
    feed(http, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, way)
    assert http.events() == []
    assert status_of(http.data_to_send()) == 400


def test_too_many_trailers_are_refused() -> None:
    http = connection()
    feed(http, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: 12345678\r\n" * 2000, "whole")
    assert status_of(http.data_to_send()) == 431


def test_a_long_body_is_handed_on_in_pieces() -> None:
    http = connection(body_start=10)
    http.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n0123456789", 0.0)
    assert http.events() == []
    http.receive_data(b"ab", 0.0)
    (event,) = http.events()
    assert isinstance(event, RequestReceived)
    assert (event.body, event.more_body) == (b"0123456789ab", True)
    http.receive_data(b"c" * 17, 0.0)
    http.receive_data(b"de", 0.0)
    assert http.events() == [BodyReceived(b"c" * 17, True), BodyReceived(b"d", False)]
    http.send_response(200)
    assert status_of(http.data_to_send()) == 200


def test_a_client_that_breaks_a_rule_in_a_body_that_was_handed_on_is_gone() -> None:
    http = connection(body_start=2)
    http.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n", 0.0)
    http.receive_data(b"zz\r\n", 0.0)
    first, second = http.events()
    assert isinstance(first, RequestReceived)
    assert second == Disconnected()
    assert status_of(http.data_to_send()) == 400


def test_continue_is_said_once_and_only_to_who_waits_for_it() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    http = connection()
    http.receive_data(head, 0.0)
    assert http.data_to_send() == b"HTTP/1.1 100 Continue\r\n\r\n"
    http.receive_data(b"a", 0.0)
    assert http.data_to_send() == b""
    http.receive_data(b"b", 0.0)
    assert len(http.events()) == 1
    http = connection()
    http.receive_data(head + b"ab", 0.0)
    assert http.data_to_send() == b""
    http = connection(body=1)
    http.receive_data(head, 0.0)
    assert status_of(http.data_to_send()) == 413
    http = connection()
    http.receive_data(head.replace(b"HTTP/1.1", b"HTTP/1.0"), 0.0)
    assert http.data_to_send() == b""


def test_a_paused_body_has_no_time_limit() -> None:
    http = connection(body_start=1)
    http.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 0.0)
    http.pause_body()
    assert not http.wants_data
    http.receive_data(b"d", 1.0)
    assert http.next_deadline() is None
    http.resume_body(100.0)
    assert http.wants_data
    assert http.next_deadline() == 160.0


def test_an_answer_before_the_end_of_the_body_ends_the_connection() -> None:
    http = connection(body_start=2)
    http.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 0.0)
    http.events()
    http.send_response(200)
    assert b"connection: close\r\n" in http.data_to_send()
    assert http.wants_eof
    http.receive_data(b"defghi" + GET, 0.0)
    assert http.events() == []
