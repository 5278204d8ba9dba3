"""Heads of HTTP/1.1 requests, fed whole, byte by byte, and with bytes after them: the outcome is the same."""

from typing import Any

import pytest

from shmchan.protocol.head import HeadLimits
from shmchan.protocol.http import RequestReceived

from .http_harness import connection, feed, status_of

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
