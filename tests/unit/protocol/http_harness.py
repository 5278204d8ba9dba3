"""One connection of HTTP/1.1 without I/O, fed in several ways, and the requests that many tests send."""

from typing import Any

from shmchan.protocol.http import HTTPConnection, HTTPLimits

HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
HEAD_ = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"


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


def answered(request: bytes, *args: Any, **kwargs: Any) -> tuple[HTTPConnection, bytes]:
    http = connection()
    http.receive_data(request, 0.0)
    assert len(http.events()) == 1
    http.send_response(*args, **kwargs)
    return http, http.data_to_send()
