"""A connection of HTTP/1.1 from its start to its end: requests one after another, WebSockets, time limits, states."""

import itertools

import pytest

from shmchan.protocol.http import READING, WRITING, Disconnected, HTTPConnection, HTTPLimits, RequestReceived, UpgradeReceived

from .http_harness import GET, connection, status_of


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
