"""The WebSocket connection without I/O: messages, control frames, closing, failing, keep-alive."""

import pytest

from shmchan.protocol.websocket import (
    BytesReceived,
    Closed,
    State,
    TextReceived,
    WebSocketConnection,
    frame_bytes,
    frame_text,
    is_sendable_code,
)

from .reference import client_frame

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def server_frame(opcode: int, payload: bytes) -> bytes:
    return client_frame(opcode, payload, mask=None)


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return client_frame(CLOSE, code.to_bytes(2, "big") + reason)


def sent_close(connection: WebSocketConnection) -> tuple[int, str]:
    """The Close that is all that was sent."""
    data = connection.data_to_send()
    assert data[0] == 0x88
    assert data[1] == len(data) - 2
    return int.from_bytes(data[2:4], "big"), data[4:].decode()


# --- messages


def test_text_and_binary_messages_arrive_in_order() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.receive_data(
        client_frame(TEXT, "schön".encode()) + client_frame(BINARY, b"\xff\x00") + client_frame(TEXT, b""), 1.0
    )
    assert connection.events() == [TextReceived("schön"), BytesReceived(b"\xff\x00"), TextReceived("")]
    assert connection.events() == []
    assert connection.data_to_send() == b""


def test_fragments_are_joined_around_control_frames() -> None:
    connection = WebSocketConnection(now=0.0)
    stream = (
        client_frame(TEXT, b"sch\xc3", fin=False)
        + client_frame(PING, b"p")
        + client_frame(0, b"", fin=False)
        + client_frame(PONG, b"unasked")
        + client_frame(0, b"\xb6n")
        + client_frame(BINARY, b"", fin=False)
        + client_frame(0, b"end")
    )
    for index in range(len(stream)):
        connection.receive_data(stream[index : index + 1], 1.0)
    assert connection.events() == [TextReceived("schön"), BytesReceived(b"end")]
    assert connection.data_to_send() == server_frame(PONG, b"p")


def test_a_message_of_exactly_max_size_passes_and_one_more_byte_closes_with_1009() -> None:
    connection = WebSocketConnection(now=0.0, max_size=200)
    connection.receive_data(client_frame(BINARY, b"x" * 150, fin=False) + client_frame(0, b"x" * 50), 1.0)
    assert connection.events() == [BytesReceived(b"x" * 200)]
    # The header alone is enough.
    connection.receive_data(client_frame(BINARY, b"x" * 150, fin=False) + client_frame(0, b"x" * 51)[:2], 1.0)
    assert sent_close(connection) == (1009, "message too big")
    assert connection.events() == []
    assert not connection.finished


def test_what_is_sent_is_framed_without_mask_in_order() -> None:
    connection = WebSocketConnection(now=0.0)
    assert connection.send_text("schön")
    assert connection.send_bytes(b"x" * 126)
    assert connection.send_frame(frame_text("all") + frame_bytes(b"of you"))
    expected = server_frame(TEXT, "schön".encode()) + server_frame(BINARY, b"x" * 126)
    expected += server_frame(TEXT, b"all") + server_frame(BINARY, b"of you")
    assert connection.data_to_send() == expected
    assert connection.data_to_send() == b""


def test_a_lone_surrogate_cannot_be_sent() -> None:
    connection = WebSocketConnection(now=0.0)
    with pytest.raises(UnicodeEncodeError):
        connection.send_text("\ud800")


def test_each_ping_is_answered_with_its_payload() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.receive_data(client_frame(PING, b"a") + client_frame(PING, b"b" * 125), 1.0)
    assert connection.data_to_send() == server_frame(PONG, b"a") + server_frame(PONG, b"b" * 125)


# --- closing


def test_the_peers_close_is_answered_with_its_code_and_ends_the_connection() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.receive_data(client_frame(TEXT, b"last") + close_frame(3001, "tschüß".encode()) + client_frame(TEXT, b"late"), 1.0)
    assert connection.events() == [TextReceived("last"), Closed(3001, "tschüß")]
    assert connection.data_to_send() == server_frame(CLOSE, (3001).to_bytes(2, "big"))
    assert connection.finished
    assert not connection.lost
    assert connection.next_deadline() is None


def test_a_close_without_code_is_answered_without_code() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.receive_data(client_frame(CLOSE, b""), 1.0)
    assert connection.events() == [Closed(1005, "")]
    assert connection.data_to_send() == server_frame(CLOSE, b"")


def test_our_close_waits_for_the_peers() -> None:
    connection = WebSocketConnection(now=0.0, close_timeout=10.0)
    connection.send_text("before")
    connection.close(4000, "genug", now=5.0)
    connection.close(1001, "again", now=6.0)
    assert connection.data_to_send() == server_frame(TEXT, b"before") + server_frame(CLOSE, (4000).to_bytes(2, "big") + b"genug")
    assert not connection.finished
    assert connection.next_deadline() == 15.0
    connection.receive_data(client_frame(TEXT, b"crossed") + client_frame(PING, b""), 7.0)
    assert connection.events() == []
    assert connection.ignored_messages == 1
    assert connection.data_to_send() == b""
    connection.receive_data(close_frame(1000), 8.0)
    assert connection.events() == [Closed(1000, "")]
    assert connection.finished
    assert not connection.lost


def test_our_code_counts_when_the_peers_close_has_none() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.close(4000, "genug", now=1.0)
    connection.receive_data(client_frame(CLOSE, b""), 2.0)
    assert connection.events() == [Closed(4000, "genug")]


def test_a_close_that_is_not_answered_is_given_up_after_its_timeout() -> None:
    connection = WebSocketConnection(now=0.0, close_timeout=10.0)
    connection.close(1001, now=5.0)
    connection.handle_timeout(14.9)
    assert not connection.finished
    connection.handle_timeout(15.0)
    assert connection.finished
    assert connection.lost
    assert connection.events() == [Closed(1001, "")]


def test_a_close_without_the_time_starts_its_timeout_when_it_is_next_told() -> None:
    connection = WebSocketConnection(now=100.0, close_timeout=10.0)
    connection.close()
    assert connection.next_deadline() == 100.0
    connection.handle_timeout(500.0)
    assert connection.next_deadline() == 510.0
    assert not connection.finished
    connection.handle_timeout(510.0)
    assert connection.events() == [Closed(1000, "")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_codes_that_must_not_be_on_the_wire_are_refused_both_ways(code: int) -> None:
    assert not is_sendable_code(code)
    connection = WebSocketConnection(now=0.0)
    with pytest.raises(ValueError, match=f"close code {code} must not be sent"):
        connection.close(code)
    connection.receive_data(close_frame(code), 1.0)
    assert sent_close(connection) == (1002, "invalid close code")
    assert connection.events() == [Closed(1002, "invalid close code")]
    assert connection.finished


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
def test_codes_of_the_wire_are_allowed_both_ways(code: int) -> None:
    connection = WebSocketConnection(now=0.0)
    connection.close(code)
    assert sent_close(connection) == (code, "")
    connection = WebSocketConnection(now=0.0)
    connection.receive_data(close_frame(code, b"why"), 1.0)
    assert connection.events() == [Closed(code, "why")]


def test_a_long_reason_is_cut_at_a_character() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.close(1000, "ü" * 62)
    assert sent_close(connection) == (1000, "ü" * 61)
    connection = WebSocketConnection(now=0.0)
    connection.close(1000, "u" * 123)
    assert sent_close(connection) == (1000, "u" * 123)


def test_nothing_is_sent_once_closing_has_begun() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.close(now=1.0)
    connection.data_to_send()
    assert not connection.send_text("a")
    assert not connection.send_bytes(b"a")
    assert not connection.send_frame(frame_text("a"))
    assert connection.data_to_send() == b""


# --- the transport ends


def test_an_end_without_close_is_1006() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.receive_data(client_frame(TEXT, b"half", fin=False), 1.0)
    connection.receive_eof(2.0)
    assert connection.events() == [Closed(1006, "")]
    assert connection.finished
    assert connection.data_to_send() == b""
    connection.receive_eof(3.0)
    connection.receive_data(client_frame(TEXT, b"late"), 3.0)
    connection.handle_timeout(1000.0)
    assert connection.events() == []


def test_an_end_after_our_close_has_our_code() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.close(1012, "restart", now=1.0)
    connection.receive_eof(2.0)
    assert connection.events() == [Closed(1012, "restart")]


# --- rules broken

BROKEN = {
    "reserved bit": (client_frame(TEXT, b"", rsv=1), 1002),
    "compressed without agreement": (client_frame(TEXT, b"", rsv=4), 1002),
    "reserved opcode": (client_frame(3, b""), 1002),
    "reserved control opcode": (client_frame(11, b""), 1002),
    "fragmented ping": (client_frame(PING, b"", fin=False), 1002),
    "long ping": (client_frame(PING, b"x" * 126), 1002),
    "nothing to continue": (client_frame(0, b""), 1002),
    "message in a message": (client_frame(TEXT, b"", fin=False) + client_frame(TEXT, b""), 1002),
    "no mask": (client_frame(TEXT, b"x", mask=None), 1002),
    "long length for a short frame": (b"\x82\xfe\x00\x7d" + bytes(4 + 125), 1002),
    "very long length for a long frame": (b"\x82\xff" + (65535).to_bytes(8, "big") + bytes(4), 1002),
    "length of 64 bits": (b"\x82\xff\x80" + bytes(11), 1002),
    "close of one byte": (client_frame(CLOSE, b"\x03"), 1002),
    "close reason not UTF-8": (close_frame(1000, b"\xff"), 1007),
    "text not UTF-8": (client_frame(TEXT, b"abc\xff"), 1007),
    "text not UTF-8, before its end": (client_frame(TEXT, b"abc\xed\xa0" + b"x" * 30)[: 6 + 5], 1007),
    "text that ends in a character": (client_frame(TEXT, "ü".encode()[:1]), 1007),
    "too big": (client_frame(BINARY, b"x" * 201), 1009),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_a_broken_rule_closes_with_its_code(name: str, byte_by_byte: bool) -> None:
    stream, code = BROKEN[name]
    connection = WebSocketConnection(now=0.0, max_size=200, close_timeout=10.0)
    connection.receive_data(client_frame(TEXT, b"before"), 1.0)
    step = 1 if byte_by_byte else len(stream)
    for at in range(0, len(stream), step):
        connection.receive_data(stream[at : at + step], 1.0)
    assert connection.state in (State.FAILING, State.FINISHED)
    assert sent_close(connection)[0] == code
    assert not connection.send_text("too late")
    # The peer, still sending, answers in the end.
    connection.receive_data(bytes(64), 2.0)
    connection.receive_eof(3.0)
    events = connection.events()
    assert events[0] == TextReceived("before")
    assert [type(event) for event in events] == [TextReceived, Closed]
    assert isinstance(events[1], Closed)
    assert events[1].code == code
    assert connection.finished


def test_a_failed_connection_skips_what_is_under_way_up_to_the_peers_close() -> None:
    connection = WebSocketConnection(now=0.0, max_size=10)
    stream = client_frame(BINARY, b"x" * 1000) + client_frame(TEXT, b"more") + client_frame(PING, b"") + close_frame(1009)
    connection.receive_data(stream[:500], 1.0)
    assert sent_close(connection)[0] == 1009
    connection.receive_data(stream[500:], 2.0)
    assert connection.data_to_send() == b""
    assert connection.events() == [Closed(1009, "message too big")]
    assert connection.finished


def test_a_failed_connection_is_given_up_after_the_close_timeout() -> None:
    connection = WebSocketConnection(now=0.0, close_timeout=10.0)
    connection.receive_data(b"\xff\xff", 1.0)
    assert connection.next_deadline() == 11.0
    connection.receive_data(bytes(1000), 10.0)
    connection.handle_timeout(11.0)
    assert connection.finished
    assert connection.lost
    assert connection.events() == [Closed(1002, "reserved bit set")]


def test_a_rule_broken_while_closing_keeps_our_close_and_its_timeout() -> None:
    connection = WebSocketConnection(now=0.0, close_timeout=10.0)
    connection.close(1001, "bye", now=1.0)
    connection.data_to_send()
    connection.receive_data(client_frame(TEXT, b"\xff"), 5.0)
    assert connection.state is State.FAILING
    assert connection.data_to_send() == b""
    assert connection.next_deadline() == 11.0
    connection.receive_eof(6.0)
    assert connection.events() == [Closed(1001, "bye")]


def test_an_invalid_close_in_answer_to_ours_ends_the_connection_with_our_code() -> None:
    connection = WebSocketConnection(now=0.0)
    connection.close(1001, "bye", now=1.0)
    connection.data_to_send()
    connection.receive_data(close_frame(1005), 2.0)
    assert connection.data_to_send() == b""
    assert connection.events() == [Closed(1001, "bye")]
    assert connection.finished


# --- keep-alive


def test_a_quiet_peer_is_pinged_and_a_silent_one_given_up() -> None:
    connection = WebSocketConnection(now=100.0, ping_interval=20.0, ping_timeout=30.0)
    assert connection.next_deadline() == 120.0
    connection.handle_timeout(119.0)
    assert connection.data_to_send() == b""
    connection.handle_timeout(120.0)
    assert connection.data_to_send() == server_frame(PING, b"")
    assert connection.next_deadline() == 150.0
    connection.handle_timeout(150.0)
    assert connection.events() == [Closed(1011, "no answer to a ping")]
    assert connection.finished
    assert connection.lost


@pytest.mark.parametrize("sign", [client_frame(PONG, b""), client_frame(TEXT, b"hello"), b"\x81"])
def test_any_byte_from_the_peer_is_a_sign_of_life(sign: bytes) -> None:
    connection = WebSocketConnection(now=0.0, ping_interval=20.0, ping_timeout=30.0)
    connection.handle_timeout(20.0)
    connection.data_to_send()
    connection.receive_data(sign, 40.0)
    connection.handle_timeout(50.0)
    assert not connection.finished
    assert connection.data_to_send() == b""
    assert connection.next_deadline() == 60.0
    connection.handle_timeout(60.0)
    assert connection.data_to_send() == server_frame(PING, b"")


def test_a_talking_peer_is_not_pinged_and_moves_no_timer() -> None:
    connection = WebSocketConnection(now=0.0, ping_interval=20.0)
    connection.receive_data(client_frame(TEXT, b"a"), 15.0)
    assert connection.next_deadline() == 20.0
    connection.handle_timeout(20.0)
    assert connection.data_to_send() == b""
    assert connection.next_deadline() == 35.0


def test_without_an_interval_there_are_no_pings() -> None:
    connection = WebSocketConnection(now=0.0, ping_interval=None)
    assert connection.next_deadline() is None
    connection.handle_timeout(1e9)
    assert connection.data_to_send() == b""
    connection.close(now=1.0)
    assert connection.next_deadline() == 11.0
