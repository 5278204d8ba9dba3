"""HTTP/1.1 without I/O. What comes in is fed whole, byte by byte, and with bytes after it: the outcome is the same."""

import itertools
from typing import Any

import pytest

from shmchan.protocol.head import HeadLimits
from shmchan.protocol.http import (
    READING,
    WRITING,
    BadResponse,
    BodyReceived,
    Disconnected,
    HTTPConnection,
    HTTPLimits,
    RequestReceived,
    UpgradeReceived,
)

HOST = b"Host: a\r\n"


def connection(**limits: Any) -> HTTPConnection:
    return HTTPConnection(now=0.0, limits=HTTPLimits(**limits))


def feed(http: HTTPConnection, data: bytes, way: str) -> None:
    if way == "bytes":
        for index in range(len(data)):
            http.receive_data(data[index : index + 1], 0.0)
    else:
        http.receive_data(data, 0.0)


def status_of(data: bytes) -> int:
    assert data.startswith(b"HTTP/1.1 "), data
    return int(data[9:12])


GOOD: list[tuple[bytes, dict[str, Any]]] = [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", {"method": "GET", "path": "/", "query_string": b"", "http_version": "1.1"}),
    (b"GET /a%20b/%C3%A4?x=%20&y HTTP/1.1\r\nHost: a\r\n\r\n", {"path": "/a b/ä", "query_string": b"x=%20&y"}),
    (b"GET /%FF%zz HTTP/1.1\r\nHost: a\r\n\r\n", {"path": "/\ufffd%zz"}),
    (b"GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n", {"path": "/a", "query_string": b"b?c"}),
    (b"GET //evil/../x HTTP/1.1\r\nHost: a\r\n\r\n", {"path": "//evil/../x"}),
    (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", {"path": "*"}),
    (b"GET http://b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", {"path": "/x", "query_string": b"y", "headers": [[b"host", b"b:80"]]}),
    (b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", {"path": "/", "headers": [[b"host", b"b"]]}),
    (b"GET / HTTP/1.0\r\n\r\n", {"http_version": "1.0", "keep_alive": False}),
    (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", {"keep_alive": True}),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", {"keep_alive": False}),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", {"path": "/"}),
    (
        b"GET / HTTP/1.1\r\nHost:a\r\nX-A: 1 \t\r\nx-a:\r\nX_B: 2\r\nX-C: \xe9\r\n\r\n",
        {"headers": [[b"host", b"a"], [b"x-a", b"1"], [b"x-a", b""], [b"x-c", b"\xe9"]]},
    ),
    (b"PURGE /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", {"method": "PURGE"}),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", {"headers": [[b"host", b""]]}),
    (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", {"upgrade": False}),
    (b"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", {"upgrade": False}),
]


@pytest.mark.parametrize("way", ["whole", "bytes", "trailing"])
@pytest.mark.parametrize(("data", "expected"), GOOD)
def test_a_good_head_is_read(data: bytes, expected: dict[str, Any], way: str) -> None:
    http = connection()
    feed(http, data + (b"trailing" if way == "trailing" else b""), way)
    (event,) = http.events()
    assert isinstance(event, RequestReceived)
    assert (event.body, event.more_body) == (b"", False)
    for name, value in expected.items():
        assert getattr(event.head, name) == value, name
    assert http.data_to_send() == b""


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


BAD: list[tuple[bytes, int]] = [
    # Not HTTP, or another HTTP.
    (b"\x16\x03\x01\x02\x00", 400),
    (b"hello\r\n\r\n", 400),
    (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400),
    (b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b"GET / HTTP/0.9\r\n\r\n", 505),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\n", 505),
    (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505),
    (b"GET / HTTP/x\r\nHost: a\r\n\r\n", 400),
    # Targets.
    (b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    # Hosts.
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    # Headers.
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\nX: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\rHost: a\r\r", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\n\r\n", 417),
    # Lengths and codings that two servers could read differently.
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    (b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\na", 400),
]


@pytest.mark.parametrize("way", ["whole", "bytes", "trailing"])
@pytest.mark.parametrize(("data", "status"), BAD)
def test_a_bad_head_is_refused_and_the_connection_ends(data: bytes, status: int, way: str) -> None:
    http = connection()
    feed(http, data + (b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" if way == "trailing" else b""), way)
    assert http.events() == []
    answer = http.data_to_send()
    assert status_of(answer) == status
    assert b"connection: close\r\n" in answer
    assert http.wants_eof
    http.receive_data(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 0.0)
    assert http.events() == []
    http.receive_eof(0.0)
    assert http.finished


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


@pytest.mark.parametrize("way", ["whole", "bytes"])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"x" * 600, 414),
        (b"GET /" + b"x" * 600 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n60\r\n" + b"x" * 96 + b"\r\n6\r\n123456", 413),
        (b"\r\n" * 1000, 400),
    ],
)
def test_what_is_too_large_is_refused(data: bytes, status: int, way: str) -> None:
    http = connection(head=HeadLimits(target=500, head=1000, headers=10), body=100)
    feed(http, data, way)
    assert http.events() == []
    assert status_of(http.data_to_send()) == status


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


def test_pipelined_requests_wait_and_the_socket_rests_when_much_waits() -> None:
    http = connection(buffered=100)
    request = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
    http.receive_data(request % 1 + request % 2, 0.0)
    assert len(http.events()) == 1
    assert http.wants_data
    http.receive_data(b"".join(request % number for number in range(3, 10)), 0.0)
    assert http.events() == []
    assert not http.wants_data
    for number in range(2, 10):
        http.send_response(204)
        (event,) = http.events()
        assert isinstance(event, RequestReceived)
        assert event.head.path == f"/{number}"
    assert http.wants_data


def answered(request: bytes, *args: Any, **kwargs: Any) -> tuple[HTTPConnection, bytes]:
    http = connection()
    http.receive_data(request, 0.0)
    assert len(http.events()) == 1
    http.send_response(*args, **kwargs)
    return http, http.data_to_send()


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
HEAD_ = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "headers", "content", "more", "expected"),
    [
        (GET, 200, [], b"abc", False, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"),
        (GET, 200, [(b"Content-Length", b"99")], b"abc", False, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"),
        (GET, 200, [(b"Transfer-Encoding", b"chunked")], b"", False, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        (GET, 200, [], b"abc", True, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        (GET, 200, [(b"content-length", b"9")], b"abc", True, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"),
        (GET, 204, [], b"abc", False, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, 204, [(b"content-length", b"3")], b"abc", False, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, 304, [(b"content-length", b"3")], b"", False, b"HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n"),
        (GET, 304, [], b"", False, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (GET, 299, [], b"", False, b"HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"),
        (GET, 200, [("X-E", "é")], b"", False, b"HTTP/1.1 200 OK\r\nx-e: \xe9\r\ncontent-length: 0\r\n\r\n"),
        (GET, 200, [(b"Connection", b"close")], b"", False, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        (HEAD_, 200, [], b"abc", False, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"),
        (HEAD_, 200, [(b"content-length", b"77")], b"", False, b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n"),
        (HEAD_, 200, [], b"", False, b"HTTP/1.1 200 OK\r\n\r\n"),
        (HEAD_, 200, [], b"abc", True, b"HTTP/1.1 200 OK\r\n\r\n"),
        (OLD, 200, [], b"abc", False, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"),
        (OLD, 200, [], b"abc", True, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc"),
        (
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            200,
            [],
            b"",
            False,
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n",
        ),
    ],
)
def test_responses_are_framed(
    request_: bytes, status: int, headers: list[Any], content: bytes, more: bool, expected: bytes
) -> None:
    _, data = answered(request_, status, headers, content, more)
    assert data == expected


def test_a_stream_ends_with_the_last_chunk() -> None:
    http, _ = answered(GET, 200, [], b"a", True)
    http.send_body(b"", True)
    assert http.data_to_send() == b""
    http.send_body(b"0123456789", True)
    assert http.data_to_send() == b"a\r\n0123456789\r\n"
    http.send_body(b"z")
    assert http.data_to_send() == b"1\r\nz\r\n0\r\n\r\n"
    assert not http.finished
    assert http.idle


def test_a_content_length_is_kept_true() -> None:
    http, _ = answered(GET, 200, [(b"content-length", b"5")], b"abc", True)
    assert http.send_body(b"defg", True) == 2
    assert http.data_to_send() == b"de"
    assert http.send_body(b"h") == 1
    assert http.idle
    http, _ = answered(GET, 200, [(b"content-length", b"5")], b"abc", True)
    http.send_body(b"")
    assert http.finished


def test_head_keeps_the_connection_in_step() -> None:
    http, data = answered(HEAD_ + GET, 200, [], b"abc", True)
    http.send_body(b"def")
    assert b"def" not in data + http.data_to_send()
    assert len(http.events()) == 1


def test_a_connection_that_is_not_kept_alive_is_finished_after_its_response() -> None:
    http, _ = answered(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200)
    assert http.finished
    http, _ = answered(OLD, 200, [], b"", True)
    assert not http.finished
    http.send_body(b"")
    assert http.finished


def test_what_follows_the_last_request_is_read_and_dropped_for_a_while() -> None:
    http, _ = answered(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET, 200)
    assert not http.finished
    assert http.wants_eof
    assert http.wants_data
    http.receive_data(GET, 1.0)
    assert http.events() == []
    assert http.next_deadline() == 2.0
    http.handle_timeout(2.0)
    assert http.finished


def test_an_answer_before_the_end_of_the_body_ends_the_connection() -> None:
    http = connection(body_start=2)
    http.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 0.0)
    http.events()
    http.send_response(200)
    assert b"connection: close\r\n" in http.data_to_send()
    assert http.wants_eof
    http.receive_data(b"defghi" + GET, 0.0)
    assert http.events() == []


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200", []),
        (True, []),
        (100, []),
        (600, []),
        (None, []),
        (200, [(b"a", b"b\r\nc: d")]),
        (200, [(b"a", b"b\nc: d")]),
        (200, [(b"a", b"b\x00")]),
        (200, [(b"a\r\nb", b"c")]),
        (200, [(b"a b", b"c")]),
        (200, [(b"a:", b"c")]),
        (200, [(b"", b"c")]),
        (200, [(1, b"c")]),
        (200, [("a", "\u2603")]),
        (200, "a: b"),
        (200, [b"a: b"]),
        (200, {b"a": b"b"}),
    ],
)
def test_a_response_that_cannot_be_sent_writes_nothing(status: Any, headers: Any) -> None:
    http = connection()
    http.receive_data(GET, 0.0)
    with pytest.raises(BadResponse):
        http.send_response(status, headers, b"abc")
    assert http.data_to_send() == b""
    http.send_error(500)
    assert status_of(http.data_to_send()) == 500


def test_an_error_in_a_stream_cuts_it_off() -> None:
    http, _ = answered(GET, 200, [], b"abc", True)
    http.send_error(500)
    assert http.data_to_send() == b""
    assert http.finished


def test_the_date_is_ours_unless_the_application_names_one() -> None:
    for headers, expected in (([], b"date: now\r\n"), ([(b"Date", b"then")], b"date: then\r\n")):
        http = HTTPConnection(now=0.0, date=lambda: b"now")
        http.receive_data(GET, 0.0)
        http.send_response(200, headers)
        data = http.data_to_send()
        assert data.count(b"date: ") == 1
        assert expected in data


def test_a_websocket_is_asked_for_and_what_was_read_ahead_is_kept() -> None:
    http = connection(buffered=10)
    head = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
    http.receive_data(head + b"frames", 0.0)
    (event,) = http.events()
    assert isinstance(event, UpgradeReceived)
    assert event.head.path == "/chat"
    http.receive_data(b" and more", 0.0)
    assert not http.wants_data
    assert http.next_deadline() is None
    assert http.upgraded() == b"frames and more"
    assert http.finished


def test_a_websocket_can_be_refused_as_http() -> None:
    http = connection()
    http.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 0.0)
    http.events()
    http.send_response(403, [], b"no")
    assert http.data_to_send() == b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    assert http.finished


def test_the_client_that_leaves_is_reported_once_and_only_if_something_is_owed() -> None:
    http = connection()
    http.receive_data(b"GET / HT", 0.0)
    http.receive_eof(0.0)
    assert http.events() == []
    assert http.finished
    http = connection()
    http.receive_data(GET, 0.0)
    http.events()
    http.receive_eof(0.0)
    http.receive_eof(0.0)
    assert http.events() == [Disconnected()]
    assert http.finished


def test_the_time_limits() -> None:
    http = HTTPConnection(now=0.0, limits=HTTPLimits(head_timeout=10, keep_alive_timeout=50, body_timeout=20))
    assert http.next_deadline() == 10
    http.receive_data(b"POST / HTTP/1.1\r\n", 4.0)
    assert http.next_deadline() == 14
    http.receive_data(b"Host: a\r\nContent-Length: 4\r\n", 13.0)
    assert http.next_deadline() == 14  # a drop now and then does not help
    http.handle_timeout(13.9)
    http.receive_data(b"\r\n", 13.9)
    assert http.next_deadline() == 33.9
    http.receive_data(b"ab", 30.0)
    assert http.next_deadline() == 50
    http.receive_data(b"cd", 40.0)
    assert http.next_deadline() is None
    http.handle_timeout(1000.0)
    assert len(http.events()) == 1
    http.send_response(200, now=2000.0)
    assert http.next_deadline() == 2050
    http.data_to_send()
    http.handle_timeout(2050.0)
    assert http.data_to_send() == b""
    assert http.finished


@pytest.mark.parametrize("begun", [b"G", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabc"])
def test_who_is_too_slow_is_told_so(begun: bytes) -> None:
    http = connection()
    http.receive_data(begun, 0.0)
    deadline = http.next_deadline()
    assert deadline is not None
    http.handle_timeout(deadline)
    assert status_of(http.data_to_send()) == 408
    assert http.events() == []


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


def test_shutting_down_answers_what_is_under_way() -> None:
    http = connection()
    http.shut_down(0.0)
    assert http.finished
    http = connection()
    http.receive_data(GET, 0.0)
    http.shut_down(0.0)
    assert not http.finished
    http.send_response(200)
    assert b"connection: close\r\n" in http.data_to_send()
    assert http.finished


def test_the_answer_that_nobody_asked_for_is_a_bug_of_the_caller() -> None:
    http = connection()
    with pytest.raises(RuntimeError, match="no response is owed"):
        http.send_response(200)
    with pytest.raises(RuntimeError, match="no response has begun"):
        http.send_body(b"")
    with pytest.raises(RuntimeError, match="cannot happen"):
        http.upgraded()


@pytest.mark.parametrize(("table", "side"), [(READING, "reading"), (WRITING, "writing")])
def test_every_state_and_event_is_in_the_table_or_raises(table: dict[tuple[str, str], str], side: str) -> None:
    states = sorted({state for state, _ in table} | set(table.values()))
    events = sorted({event for _, event in table})
    for state, event in itertools.product(states, events):
        http = connection()
        setattr(http, side, state)
        step = http._read if side == "reading" else http._write
        if (state, event) in table:
            step(event)
            assert getattr(http, side) == table[state, event]
        else:
            with pytest.raises(RuntimeError, match="cannot happen"):
                step(event)
            assert getattr(http, side) == state


def test_every_state_can_reach_the_end() -> None:
    for table in (READING, WRITING):
        for state in {state for state, _ in table} | set(table.values()):
            assert table[state, "close"] == "CLOSED"
