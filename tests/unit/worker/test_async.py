"""`async def` consumers: side by side, each as atomic, as ordered and as harmless as a plain one."""

import asyncio
import contextvars
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shmchan import Channel, Group, Message, route
from shmchan.exceptions import ConsumeLater, DenyConnection, LayerClosed, WebsocketCloseException
from shmchan.http import Response
from shmchan.layers import InMemoryChannelLayer, ShmChannelLayer
from shmchan.layers.base import BaseChannelLayer
from shmchan.sessions import enforce_ordering
from shmchan.worker import consume, run_worker, runner

WATCHDOG = 30.0
numbers = itertools.count()


@pytest.fixture(autouse=True)
def no_idling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.01)  # what each of these tests would wait for at its end


@pytest.fixture(params=[InMemoryChannelLayer, ShmChannelLayer])
def layer(request: pytest.FixtureRequest) -> Iterator[BaseChannelLayer]:
    make = request.param
    with make(name=f"test-async-{os.getpid()}-{next(numbers)}", capacity=400, memory=32 << 20) as layer:
        before = layer.global_statistics()["memory_used"]
        yield layer
        assert layer.global_statistics()["memory_used"] == before, "a message was never settled"


@contextmanager
def worker(layer: BaseChannelLayer, routing: Any, **options: Any) -> Iterator[None]:
    """A worker in a thread, stopped and joined at the end."""
    stop, ready, codes = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=lambda: codes.append(run_worker(layer, routing, stop=stop, ready=ready.set, **options)))
    thread.start()
    try:
        assert ready.wait(WATCHDOG)
        yield
    finally:
        stop.set()
        thread.join(WATCHDOG)
    assert codes == [0]


def answers(layer: BaseChannelLayer, count: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(count):
        message = layer.receive(["r!"], block=True)[1]
        assert message is not None
        found.append(message)
    return found


def test_hundreds_run_at_the_same_time(layer: BaseChannelLayer) -> None:
    running, everybody = 0, asyncio.Event()

    async def consumer(message: Message) -> None:
        nonlocal running
        running += 1
        if running == 300:
            everybody.set()
        await everybody.wait()
        Channel(f"r!{message['n'] % 5}").send({"n": message["n"]})

    with worker(layer, [route("job", consumer)]):
        for number in range(300):
            layer.send("job", {"n": number})
        assert sorted(answer["n"] for answer in answers(layer, 300)) == list(range(300))


def test_what_it_sends_goes_out_when_it_is_done_and_contexts_do_not_mix(layer: BaseChannelLayer) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="clean")
    seen: list[object] = []
    gate = asyncio.Event()
    layer.group_add("g", "r!g")

    async def first(message: Message) -> None:
        seen.append(variable.get())
        variable.set("first")
        Channel("r!x").send({"from": "first", "n": 1})
        await gate.wait()
        seen.append(variable.get())

        async def deeper() -> None:
            Channel("r!x").send({"from": "first", "n": 2})

        await asyncio.gather(deeper(), asyncio.sleep(0))
        Group("g").send({"from": "first", "n": 3})

    async def second(message: Message) -> None:
        seen.append(variable.get())
        Channel("r!x").send({"from": "second", "n": 0})
        asyncio.get_running_loop().call_later(0.02, gate.set)

    with worker(layer, [route("first", first), route("second", second)]):
        layer.send("first", {})
        layer.send("second", {})
        found = answers(layer, 4)
    assert [(answer["from"], answer["n"]) for answer in found] == [("second", 0), ("first", 1), ("first", 2), ("first", 3)]
    assert sorted(map(str, seen)) == ["clean", "clean", "first"]


def test_a_connections_messages_run_in_order_one_at_a_time_and_connections_side_by_side(layer: BaseChannelLayer) -> None:
    inside: set[str] = set()
    everybody = asyncio.Event()

    async def consumer(message: Message) -> None:
        name = message["reply_channel"]
        assert name not in inside
        inside.add(name)
        if len(inside) == 20:
            everybody.set()
        await everybody.wait()
        await asyncio.sleep(0)
        inside.discard(name)
        message.reply_channel.send({"of": name, "n": message["n"]})

    with worker(layer, [route("websocket.receive", consumer)]):
        for number in range(8):
            for connection in range(20):
                layer.send("websocket.receive", {"reply_channel": f"r!{connection}", "n": number})
        found = answers(layer, 160)
    for connection in range(20):
        assert [answer["n"] for answer in found if answer["of"] == f"r!{connection}"] == list(range(8))


def test_plain_consumers_go_on_beside_them(layer: BaseChannelLayer) -> None:
    plain_ran = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def waits(message: Message) -> None:
        loops.append(asyncio.get_running_loop())
        await plain_ran.wait()
        Channel("r!x").send({"from": "async"})

    def plain(message: Message) -> None:
        loops[0].call_soon_threadsafe(plain_ran.set)
        Channel("r!x").send({"from": "plain"})

    with worker(layer, [route("waits", waits), route("plain", plain)]):
        layer.send("waits", {})
        while not loops:
            time.sleep(0.001)
        layer.send("plain", {})
        assert sorted(answer["from"] for answer in answers(layer, 2)) == ["async", "plain"]


def test_no_more_than_the_limit_run_at_once(layer: BaseChannelLayer) -> None:
    running = most = 0
    full = asyncio.Event()

    async def consumer(message: Message) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0.001)
        running -= 1
        Channel("r!x").send({})

    with worker(layer, [route("job", consumer)], async_limit=3):
        for _ in range(30):
            layer.send("job", {})
        answers(layer, 30)
    assert most == 3


def test_a_stopped_worker_finishes_what_runs(layer: BaseChannelLayer) -> None:
    began = threading.Event()

    async def consumer(message: Message) -> None:
        began.set()
        await asyncio.sleep(0.05)
        Channel("r!x").send({"finished": True})

    with worker(layer, [route("job", consumer)]):
        layer.send("job", {})
        assert began.wait(WATCHDOG)
    assert layer.receive(["r!"]) == ("r!x", {"finished": True})


def test_a_full_target_stalls_nobody_else(layer: BaseChannelLayer) -> None:
    for _ in range(400):
        layer.send("r!slow", {})

    async def consumer(message: Message) -> None:
        message.reply_channel.send({"n": message["n"]})

    with worker(layer, [route("job", consumer)]):
        layer.send("job", {"reply_channel": "r!slow", "n": 1})
        layer.send("job", {"reply_channel": "f!fast", "n": 2})
        assert layer.receive(["f!"], block=True) == ("f!fast", {"n": 2})
        answers(layer, 400)
        # Owed to a client that was slow: sent as soon as there was room, unless this machine stood still for 2 seconds.
    assert layer.receive(["r!"]) in (("r!slow", {"n": 1}), (None, None))


async def returns(message: Message) -> Response:
    return Response(b"hello")


async def denies(message: Message) -> None:
    message.reply_channel.send({"text": "never"})
    raise DenyConnection


async def closes(message: Message) -> None:
    raise WebsocketCloseException(4001)


async def fails(message: Message) -> None:
    message.reply_channel.send({"text": "sent before"})
    raise RuntimeError("on purpose")


async def leaves(message: Message) -> None:
    sys.exit(3)


async def cancels_itself(message: Message) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(10)


async def leaves_by_a_task(message: Message) -> None:
    async def inner() -> None:
        sys.exit(3)

    task = asyncio.get_running_loop().create_task(inner())
    await asyncio.wait([task])
    with pytest.raises(SystemExit):
        task.result()


@pytest.mark.parametrize(
    ("consumer", "channel", "expected", "logged"),
    [
        (returns, "http.request", {"status": 200}, None),
        (denies, "websocket.connect", {"close": True}, None),
        (closes, "websocket.receive", {"close": 4001}, None),
        (fails, "http.request", {"text": "sent before"}, "fails failed on a message on http.request"),
        (leaves, "http.request", {"status": 500}, "called exit()"),
        (cancels_itself, "http.request", {"status": 500}, "raised CancelledError"),
        (leaves_by_a_task, "http.request", None, "raised SystemExit; that ends no worker"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_it_ends_as_a_plain_one_does(
    layer: BaseChannelLayer,
    consumer: Any,
    channel: str,
    expected: dict[str, Any] | None,
    logged: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def afterwards(message: Message) -> None:
        Channel("r!z").send({"still": "there"})

    with worker(layer, [route(channel, consumer), route("afterwards", afterwards)]):
        layer.send(channel, {"reply_channel": "r!x", "path": "/"})
        if expected is not None:
            (answer,) = answers(layer, 1)
            assert answer.items() >= expected.items()
        layer.send("afterwards", {})
        assert answers(layer, 1) == [{"still": "there"}]
    serious = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(serious) == (logged is not None), serious
    assert logged is None or logged in serious[0]


def test_consume_later_comes_again(layer: BaseChannelLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume, "FIRST_BACKOFF", 0.0)
    tries = 0

    async def consumer(message: Message) -> None:
        nonlocal tries
        tries += 1
        Channel("r!x").send({"try": tries})
        if tries < 3:
            raise ConsumeLater

    with worker(layer, [route("job", consumer)]):
        layer.send("job", {})
        assert answers(layer, 1) == [{"try": 3}]


def test_its_own_timeout_error_is_its_own(layer: BaseChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    async def consumer(message: Message) -> None:
        raise TimeoutError("of a database, say")

    with worker(layer, [route("http.request", consumer, timeout=60)]):
        layer.send("http.request", {"reply_channel": "r!x", "path": "/"})
        assert answers(layer, 1)[0]["status"] == 500
    assert "of a database, say" in caplog.text


def test_when_its_time_is_over_it_is_cancelled_and_may_tidy_up(layer: BaseChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    tidied = []

    async def consumer(message: Message) -> None:
        try:
            await asyncio.sleep(WATCHDOG)
        finally:
            tidied.append(True)

    with worker(layer, [route("http.request", consumer, timeout=0.05)]):
        layer.send("http.request", {"reply_channel": "r!x", "path": "/"})
        assert answers(layer, 1)[0]["status"] == 504
    assert tidied == [True]
    assert "longer than its 0.05 s" in caplog.text


def test_when_the_layer_fails_the_worker_says_so_and_ends() -> None:
    layer = InMemoryChannelLayer()

    async def consumer(message: Message) -> None:
        layer.close()

    layer.send("job", {})
    with pytest.raises(LayerClosed):
        run_worker(layer, [route("job", consumer)])
    assert not [thread for thread in threading.enumerate() if thread.name == "consumer-loop"]


def test_enforce_ordering_sorts_their_messages_too(layer: BaseChannelLayer) -> None:
    @enforce_ordering
    async def consumer(message: Message) -> None:
        await asyncio.sleep(0)
        Channel("r!z").send({"n": message["order"]})

    with worker(layer, [route("websocket.receive", consumer)]):
        for order in (3, 1, 2):
            layer.send("websocket.receive", {"reply_channel": "r!x", "order": order})
        assert [answer["n"] for answer in answers(layer, 3)] == [1, 2, 3]
    layer.flush()  # the group that remembers whose turn it is
