"""HTTP/1.1 responses: how they are framed, which cannot be sent, and what becomes of the connection after them."""

from typing import Any

import pytest

from shmchan.protocol.http import BadResponse, HTTPConnection

from .http_harness import GET, HEAD_, OLD, answered, connection, status_of


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


def test_the_answer_that_nobody_asked_for_is_a_bug_of_the_caller() -> None:
    http = connection()
    with pytest.raises(RuntimeError, match="no response is owed"):
        http.send_response(200)
    with pytest.raises(RuntimeError, match="no response has begun"):
        http.send_body(b"")
    with pytest.raises(RuntimeError, match="cannot happen"):
        http.upgraded()
