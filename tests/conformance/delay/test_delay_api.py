"""`shmchan.delay` over every layer, with a delay process beside it: what it promises to those who call it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shmchan import Channel, delay
from shmchan.delay.heap import Heap
from shmchan.delay.service import Service
from shmchan.exceptions import ChannelFull, DelaySilent, MessageTooLarge
from shmchan.layers.base import BaseChannelLayer
from shmchan.layers.delay_port import DelayPort, MemoryDelayPort, ShmDelayPort
from shmchan.layers.memory import InMemoryChannelLayer
from shmchan.layers.shm import ShmChannelLayer
from shmchan.message import Message
from shmchan.worker.consume import Handler

WATCHDOG = 60.0
YEAR = 366 * 86400
Send = Callable[..., str]


@pytest.fixture(params=["memory", "shm"])
def silent_layer(request: pytest.FixtureRequest) -> Iterator[BaseChannelLayer]:
    """A layer without a delay process."""
    name = f"delay-{os.getpid()}-{time.monotonic_ns()}"
    make: Any = InMemoryChannelLayer if request.param == "memory" else ShmChannelLayer
    with make(name=name, memory=32 << 20, max_message_size=1 << 20) as layer:
        yield layer


@pytest.fixture
def layer(silent_layer: BaseChannelLayer, tmp_path: Path) -> Iterator[BaseChannelLayer]:
    with serving(silent_layer, tmp_path):
        yield silent_layer


@contextmanager
def serving(layer: BaseChannelLayer, tmp_path: Path) -> Iterator[None]:
    """A delay process beside it, in a thread."""
    port: DelayPort
    if isinstance(layer, InMemoryChannelLayer):
        port = MemoryDelayPort(layer)
    else:
        assert isinstance(layer, ShmChannelLayer)
        port = ShmDelayPort(layer)
    with Heap(tmp_path / "delay.db") as heap:
        service = Service(heap, port)
        service.start()
        thread = threading.Thread(target=service.run)
        thread.start()
        try:
            yield
        finally:
            service.stop()
            thread.join(WATCHDOG)
            service.close()
            port.close()


@pytest.fixture
def send(layer: BaseChannelLayer) -> Send:
    return lambda *given, **named: delay.send(*given, channel_layer=layer, **named)


def receive(layer: BaseChannelLayer, channel: str) -> dict[str, Any]:
    _, message = layer.receive([channel], block=True, timeout=WATCHDOG)
    assert message is not None
    return message


def test_it_comes_when_it_is_due(layer: BaseChannelLayer, send: Send) -> None:
    due = time.time() + 0.1
    send("a", {"text": "tea", "b": b"\x00\xff", "deep": [{"x": None}]}, at=due)
    assert receive(layer, "a") == {"text": "tea", "b": b"\x00\xff", "deep": [{"x": None}]}
    assert time.time() >= due


def test_a_delay_is_not_too_short(layer: BaseChannelLayer, send: Send) -> None:
    began = time.monotonic()
    send(Channel("a"), {"n": 1}, delay=100)
    receive(layer, "a")
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("channel", ["a", "single?x", "local!x"])
def test_any_channel_can_be_a_target(layer: BaseChannelLayer, send: Send, channel: str) -> None:
    send(channel, {"n": 1}, delay=1)
    name, _, _ = channel.partition("!")
    assert receive(layer, channel if name == channel else name + "!") == {"n": 1}


def test_as_in_channels_a_message_to_asgi_delay_is_enough(layer: BaseChannelLayer) -> None:
    Channel("asgi.delay", channel_layer=layer).send({"channel": "a", "content": {"n": 1}, "delay": 10})
    assert receive(layer, "a") == {"n": 1}


def test_a_period_comes_again_and_again_until_it_is_cancelled(layer: BaseChannelLayer, send: Send) -> None:
    ident = send("a", {"n": 1}, every=0.02)
    for _ in range(3):
        assert receive(layer, "a") == {"n": 1}
    assert delay.cancel(ident, channel_layer=layer)
    while layer.receive(["a"])[0] is not None:
        pass
    assert delay.pending(channel_layer=layer) == []
    assert layer.receive(["a"]) == (None, None)


def test_pending_tells_everything_of_what_waits(layer: BaseChannelLayer, send: Send) -> None:
    due = round(time.time()) + YEAR
    ids = [send("a", {"n": 1}, at=due), send("b", {"n": 2}, every="0 7 * * *"), send("a", {"n": 3}, every=5, at=due, id="mine")]
    layer.send("asgi.delay", {"channel": "a", "content": {}, "delay": 1e9})
    found = delay.pending(channel_layer=layer)
    assert [one.id for one in found] == [*ids, "#4"]
    assert ids[2] == "mine"
    assert [(one.channel, one.content, one.every) for one in found[:3]] == [
        ("a", {"n": 1}, None),
        ("b", {"n": 2}, "0 7 * * *"),
        ("a", {"n": 3}, 5),
    ]
    assert (found[0].due, found[2].due) == (due, due)
    assert [one.id for one in delay.pending("a", channel_layer=layer)] == [ids[0], "mine", "#4"]
    assert delay.pending(Channel("c"), channel_layer=layer) == []


def test_more_than_one_answer_holds_is_told_whole(layer: BaseChannelLayer, send: Send) -> None:
    for n in range(1200):
        send("a", {"n": n}, delay=1e9)
    send("a", {"text": "x" * 300_000}, delay=1e9)
    found = delay.pending(channel_layer=layer)
    assert [one.content["n"] for one in found[:-1] if one.content] == list(range(1200))
    assert found[-1].content is None  # too long to be shown


def test_an_id_that_exists_is_replaced(layer: BaseChannelLayer, send: Send) -> None:
    send("a", {"n": 1}, delay=1e9, id="x")
    send("b", {"n": 2}, delay=2e9, id="x")
    [one] = delay.pending(channel_layer=layer)
    assert (one.id, one.channel, one.content) == ("x", "b", {"n": 2})


def test_cancel_says_whether_it_was_there(layer: BaseChannelLayer, send: Send) -> None:
    ident = send("a", {"n": 1}, delay=1e9)
    assert delay.cancel(ident, channel_layer=layer) is True
    assert delay.cancel(ident, channel_layer=layer) is False


def test_what_a_consumer_sends_later_goes_out_with_the_rest_of_it(layer: BaseChannelLayer) -> None:
    waiting: list[list[delay.Scheduled]] = []

    def consumer(message: Message) -> None:
        delay.send("later", {"n": 1}, delay=1e9, id="x", channel_layer=layer)
        waiting.append(delay.pending(channel_layer=layer))

    from shmchan.routing import Router, route

    layer.send("work", {})
    lease = layer.lease(["work"], WATCHDOG)
    assert lease is not None
    Handler(layer, Router([route("work", consumer)])).handle(lease)
    assert waiting == [[]]
    assert [one.id for one in delay.pending(channel_layer=layer)] == ["x"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"channel": "a b"}, TypeError),
        ({"channel": 5}, TypeError),
        ({"content": "text"}, TypeError),
        ({"content": {"x": {1, 2}}}, TypeError),
        ({"delay": "soon"}, TypeError),
        ({"delay": True}, TypeError),
        ({"delay": -1}, ValueError),
        ({"delay": float("nan")}, ValueError),
        ({"delay": 1e30}, ValueError),
        ({"delay": None}, ValueError),
        ({"delay": None, "at": "noon"}, TypeError),
        ({"delay": None, "at": -5}, ValueError),
        ({"at": 5}, ValueError),
        ({"delay": None, "every": 0}, ValueError),
        ({"delay": None, "every": b"x"}, TypeError),
        ({"delay": None, "every": "at noon"}, ValueError),
        ({"every": "0 7 * * *"}, ValueError),
        ({"id": 7}, TypeError),
        ({"id": ""}, ValueError),
        ({"id": "x" * 300}, ValueError),
        ({"content": {"x": "y" * (2 << 20)}}, MessageTooLarge),
    ],
)
def test_what_can_be_known_at_once_is_raised_at_once(
    silent_layer: BaseChannelLayer, given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        delay.send(**{"channel": "a", "content": {}, "delay": 1, **given}, channel_layer=silent_layer)
    assert silent_layer.receive(["asgi.delay"]) == (None, None)


def test_without_a_delay_process_messages_wait_for_one_and_questions_end(silent_layer: BaseChannelLayer) -> None:
    delay.send("a", {"n": 1}, delay=0, channel_layer=silent_layer)
    with pytest.raises(DelaySilent, match="did not answer within"):
        delay.cancel("x", timeout=0.05, channel_layer=silent_layer)
    with pytest.raises(DelaySilent):
        delay.pending(timeout=0.05, channel_layer=silent_layer)
    assert silent_layer.channel_statistics("asgi.delay")["messages_pending"] == 3


def test_an_answer_that_came_too_late_is_not_taken_for_the_next(silent_layer: BaseChannelLayer, tmp_path: Path) -> None:
    with pytest.raises(DelaySilent):
        delay.cancel("x", timeout=0.0, channel_layer=silent_layer)
    delay.send("a", {}, delay=1e9, id="x", channel_layer=silent_layer)
    with serving(silent_layer, tmp_path):
        assert delay.cancel("x", channel_layer=silent_layer) is True


def test_a_delay_channel_that_is_full_is_told() -> None:
    with InMemoryChannelLayer(channel_capacity={"asgi.delay": 1}) as layer:
        delay.send("a", {}, delay=1, channel_layer=layer)
        with pytest.raises(ChannelFull):
            delay.send("a", {}, delay=1, channel_layer=layer)
