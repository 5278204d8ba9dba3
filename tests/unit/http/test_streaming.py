"""Streamed responses: how much is under way, who waits, and who is told."""

import asyncio
import threading
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest

from shmchan import route
from shmchan.exceptions import RequestAborted
from shmchan.http import StreamingResponse
from shmchan.http.streaming import SMALL, SMALL_WINDOW, WINDOW, ResponseStream
from shmchan.testing import Client, apply_routes

from .harness import WATCHDOG, Exchange, content_of, headers_of


def in_a_thread(function: Any) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except RequestAborted as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def blocked(exchange: Exchange) -> bool:
    return exchange.layer.channel_statistics(exchange.reply_channel)["channel_full_count"] > 0


def wait_until_blocked(exchange: Exchange) -> None:
    for _ in range(10_000):
        if blocked(exchange):
            return
        threading.Event().wait(0.003)
    pytest.fail("it never waited for room")


@pytest.mark.parametrize(("length", "window"), [(10, SMALL_WINDOW), (SMALL, WINDOW)])
def test_few_pieces_are_under_way_until_the_client_took_them(length: int, window: int) -> None:
    exchange = Exchange()
    stream = ResponseStream(exchange.message)
    stream.begin(200, [])

    def send() -> None:
        for number in range(100):
            stream.send(b"%d " % number + bytes(length))
        stream.end()

    thread, raised = in_a_thread(send)
    wait_until_blocked(exchange)
    batch = exchange.port.drain(1000)
    assert len(batch) == window
    assert exchange.port.drain() == []  # drained is not taken: the client has not read it
    answers = [message for _, message in batch]
    exchange.port.credit(exchange.reply_channel, len(batch))
    while answers[-1]["more_content"]:
        answers += exchange.answers()
    thread.join(WATCHDOG)
    assert raised == []
    assert content_of(answers) == b"".join(b"%d " % number + bytes(length) for number in range(100))


def test_who_waits_for_room_is_told_that_the_client_left() -> None:
    exchange = Exchange()
    stream = ResponseStream(exchange.message)

    def send() -> None:
        stream.begin(200, [])
        while True:
            stream.send(b"more")

    thread, raised = in_a_thread(send)
    wait_until_blocked(exchange)
    channel = exchange.port.drain(1)[0][1]["closed_channel"]
    exchange.layer.send(channel, {"content": b"", "more_content": False, "closed": True})
    thread.join(WATCHDOG)
    assert len(raised) == 1
    with pytest.raises(RequestAborted):
        stream.end()


def test_who_has_nothing_to_send_is_told_that_the_client_left() -> None:
    exchange = Exchange()
    stream = ResponseStream(exchange.message)
    stream.begin(200, [], b"one")
    exchange.layer.send(exchange.answers()[0]["closed_channel"], {"content": b"", "more_content": False, "closed": True})
    thread, raised = in_a_thread(lambda: [*map(stream.send, repeat(b""))])
    thread.join(WATCHDOG)
    assert len(raised) == 1


def test_every_piece_names_the_channel_that_tells() -> None:
    """The front may have nobody to remember it for: one that begins after its client left."""
    exchange = Exchange()
    stream = ResponseStream(exchange.message)
    stream.begin(200, [[b"x-a", b"1"]], b"one")
    stream.send(b"two")
    stream.end()
    answers = exchange.answers()
    assert len({answer["closed_channel"] for answer in answers}) == 1
    assert [(answer.get("status"), answer["more_content"]) for answer in answers] == [(200, True), (None, True), (None, False)]
    assert headers_of(answers[0]) == {b"x-a": b"1"}


# --- as a consumer's result


class Counted:
    def __init__(self, *pieces: Any) -> None:
        self.pieces = iter(pieces)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self.pieces

    def close(self) -> None:
        self.closed += 1


def test_a_consumer_may_return_one() -> None:
    pieces = Counted(b"one", "zwö", b"")
    with apply_routes([route("http.request", lambda message: StreamingResponse(pieces, 201, [("x-a", "1")]))]):
        client = Client()
        client.send_and_consume("http.request", {"path": "/", "method": "GET"})
        answers = [client.receive() for _ in range(4)]
        assert client.receive() is None
    assert content_of(answers) == "onezwö".encode()
    assert (answers[0]["status"], answers[-1]["more_content"], pieces.closed) == (201, False, 1)


def test_a_piece_that_is_none_cuts_the_response_off() -> None:
    pieces = Counted(b"one", 2)
    with apply_routes([route("http.request", lambda message: StreamingResponse(pieces))]):
        client = Client()
        with pytest.raises(TypeError):
            client.send_and_consume("http.request", {"path": "/", "method": "GET"})
        answers = [client.receive() for _ in range(3)]
    assert [answer.get("status") for answer in answers] == [200, None, 500]
    assert pieces.closed == 1


def test_one_piece_is_no_iterable_of_pieces() -> None:
    with pytest.raises(TypeError, match="take a Response"):
        StreamingResponse(b"abc")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no single message"):
        StreamingResponse([b"abc"]).message()


def test_a_loop_is_not_kept_waiting() -> None:
    pieces = Counted(b"one")

    async def consumer() -> None:
        StreamingResponse(pieces).answer(Exchange().message)

    with pytest.raises(TypeError, match="write a plain one"):
        asyncio.run(consumer())
    assert pieces.closed == 1
