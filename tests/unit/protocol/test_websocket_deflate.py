"""Compressed messages on a connection."""

import os

import pytest

from shmchan.protocol.deflate import Deflate
from shmchan.protocol.websocket import BytesReceived, Closed, TextReceived, WebSocketConnection, frame_text

from .reference import client_frame
from .test_deflate import Peer


def connect(max_size: int = 1 << 20, **options: bool) -> WebSocketConnection:
    return WebSocketConnection(now=0.0, max_size=max_size, deflate=Deflate(**options))  # type: ignore[arg-type]


def sent(data: bytes) -> list[tuple[int, bytes]]:
    """(first byte, payload) of each frame that the server sent."""
    frames = []
    while data:
        length, header = data[1], 2
        if length == 126:
            length, header = int.from_bytes(data[2:4], "big"), 4
        elif length == 127:
            length, header = int.from_bytes(data[2:10], "big"), 10
        frames.append((data[0], data[header : header + length]))
        data = data[header + length :]
    return frames


def test_compressed_messages_arrive_in_whole_and_in_fragments() -> None:
    connection, peer = connect(), Peer()
    text, data = "Grüße " * 100, os.urandom(3000)
    whole = peer.compress(text.encode())
    parts = peer.compress(data)
    stream = client_frame(1, whole, rsv=4)
    stream += client_frame(2, parts[:1000], rsv=4, fin=False) + client_frame(9, b"") + client_frame(0, parts[1000:])
    stream += client_frame(1, b"plain")
    for at in range(0, len(stream), 700):
        connection.receive_data(stream[at : at + 700], 1.0)
    assert connection.events() == [TextReceived(text), BytesReceived(data), TextReceived("plain")]


def test_long_messages_go_compressed_and_short_and_prepared_ones_plain() -> None:
    connection, peer = connect(), Peer()
    connection.send_text("short")
    connection.send_text("long " * 100)
    connection.send_frame(frame_text("prepared"))
    connection.send_bytes(b"\x00" * 70000)
    frames = sent(connection.data_to_send())
    assert [first for first, _ in frames] == [0x81, 0xC1, 0x81, 0xC2]
    assert frames[0][1] == b"short"
    assert peer.decompress(frames[1][1]) == b"long " * 100
    assert peer.decompress(frames[3][1]) == b"\x00" * 70000


@pytest.mark.parametrize("parts", [1, 5])
def test_a_bomb_closes_with_1009(parts: int) -> None:
    connection = connect(max_size=1000)
    bomb = Peer().compress(bytes(300_000))
    size = len(bomb) // parts + 1
    for index in range(parts):
        piece = bomb[index * size : (index + 1) * size]
        connection.receive_data(client_frame(0 if index else 2, piece, rsv=0 if index else 4, fin=index == parts - 1), 1.0)
    ((first, payload),) = sent(connection.data_to_send())
    assert (first, payload[:2]) == (0x88, (1009).to_bytes(2, "big"))
    connection.receive_data(client_frame(8, b"\x03\xf1"), 2.0)
    assert connection.events() == [Closed(1009, "message too big")]


def test_many_bytes_that_decompress_to_few_close_with_1009() -> None:
    connection = connect(max_size=1000)
    connection.receive_data(client_frame(2, b"\x00\x00\x00\xff\xff" * 1000, rsv=4), 1.0)
    assert sent(connection.data_to_send())[0][1][:2] == (1009).to_bytes(2, "big")


@pytest.mark.parametrize("payload", [b"\xff" * 20, Peer().compress(b"abc\xff"), Peer().compress("ü".encode()[:1])])
def test_what_is_no_deflate_or_no_utf8_closes_with_1007(payload: bytes) -> None:
    connection = connect()
    connection.receive_data(client_frame(1, payload, rsv=4) + client_frame(1, b"after"), 1.0)
    assert sent(connection.data_to_send())[0][1][:2] == (1007).to_bytes(2, "big")
    assert connection.events() == []


def test_bad_utf8_is_found_before_the_message_ends() -> None:
    connection = connect()
    connection.receive_data(client_frame(1, Peer().compress(b"abc\xff"), rsv=4, fin=False), 1.0)
    assert sent(connection.data_to_send())[0][1][:2] == (1007).to_bytes(2, "big")


def test_rsv1_on_a_continuation_is_an_error() -> None:
    connection = connect()
    connection.receive_data(client_frame(1, Peer().compress(b"abc"), rsv=4, fin=False) + client_frame(0, b"", rsv=4), 1.0)
    assert sent(connection.data_to_send())[0][1][:2] == (1002).to_bytes(2, "big")
