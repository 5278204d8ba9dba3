"""The worker's loop: it starts, goes on whatever is parked, finishes what runs, and stops."""

import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shmchan import Channel, Message, channel_layers, parallel, route, signals
from shmchan.exceptions import AppError, LayerClosed
from shmchan.layers import InMemoryChannelLayer, ShmChannelLayer
from shmchan.layers.base import OWED_SECONDS, BaseChannelLayer
from shmchan.worker import run_worker

WATCHDOG = 30.0
numbers = itertools.count()


@pytest.fixture(params=[InMemoryChannelLayer, ShmChannelLayer])
def layer(request: pytest.FixtureRequest) -> Iterator[BaseChannelLayer]:
    make = request.param
    with make(name=f"test-runner-{os.getpid()}-{next(numbers)}", capacity=20, memory=32 << 20) as layer:
        yield layer


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


def answer(layer: BaseChannelLayer, channel: str = "r!") -> Any:
    return layer.receive([channel], block=True)[1]


def echo(message: Message) -> None:
    message.reply_channel.send({"text": message["text"]})


def test_a_worker_consumes_and_its_layer_is_the_default_meanwhile(layer: BaseChannelLayer) -> None:
    before = channel_layers.set("default", None)

    def consumer(message: Message) -> None:
        Channel("r!x").send({"same": channel_layers["default"] is layer is message.channel_layer})

    with worker(layer, [route("job", consumer)]):
        layer.send("job", {})
        assert answer(layer) == {"same": True}
        assert layer.router is not None
        assert layer.router.channels > {"job", "http.request"}
    assert channel_layers.set("default", None) is before


def test_a_worker_answers_by_default(layer: BaseChannelLayer) -> None:
    with worker(layer, []):
        layer.send("websocket.connect", {"reply_channel": "r!x"})
        assert answer(layer) == {"accept": True}
        layer.send("http.request", {"reply_channel": "r!x"})
        assert answer(layer)["status"] == 404


def test_filters_choose_the_channels(layer: BaseChannelLayer) -> None:
    routing = [route(["job.a", "job.b", "other"], lambda message: Channel("r!x").send({"from": message.channel.name}))]
    with worker(layer, routing, only=["job.*", "o*"], exclude=["*.b"]):
        for channel in ("job.b", "http.request", "job.a", "other"):
            layer.send(channel, {"reply_channel": "r!y"})
        assert sorted(answer(layer)["from"] for _ in range(2)) == ["job.a", "other"]
    assert layer.channel_statistics("job.b")["messages_pending"] == 1


def test_filters_that_leave_nothing_are_an_error_that_lists_what_there_is(layer: BaseChannelLayer) -> None:
    with pytest.raises(AppError, match=r"http\.request, job"):
        run_worker(layer, [route("job", echo)], only=["nothing"])


def test_a_worker_has_at_least_one_thread(layer: BaseChannelLayer) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run_worker(layer, [], threads=0)


def test_threads_consume_at_the_same_time(layer: BaseChannelLayer) -> None:
    meeting = threading.Barrier(3, timeout=WATCHDOG)

    def consumer(message: Message) -> None:
        meeting.wait()
        Channel("r!x").send({})

    with worker(layer, [route("job", consumer)], threads=3):
        for _ in range(3):
            layer.send("job", {})
        for _ in range(3):
            assert answer(layer) == {}


def test_signals_tell_that_a_worker_is_ready(layer: BaseChannelLayer) -> None:
    calls: list[str] = []

    def process_ready(sender: object) -> None:
        calls.append("process")

    def thread_ready(sender: object) -> None:
        calls.append("thread")

    signals.worker_process_ready.connect(process_ready)
    signals.worker_ready.connect(thread_ready)
    try:
        with worker(layer, [route("job", lambda message: Channel("r!x").send({}))], threads=2):
            layer.send("job", {})
            answer(layer)
    finally:
        signals.worker_process_ready.disconnect(process_ready)
        signals.worker_ready.disconnect(thread_ready)
    assert calls == ["process", "thread", "thread"]


def test_parallel_channels_are_declared(layer: BaseChannelLayer) -> None:
    meeting = threading.Barrier(2, timeout=WATCHDOG)

    @parallel
    def consumer(message: Message) -> None:
        meeting.wait()
        Channel("r!x").send({})

    with worker(layer, [route("websocket.receive", consumer)], threads=2):
        for _ in range(2):
            layer.send("websocket.receive", {"reply_channel": "r!y"})
        for _ in range(2):
            assert answer(layer) == {}


def test_one_slow_client_does_not_stall_the_others(layer: BaseChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    for _ in range(20):
        layer.send("r!slow", {})
    with worker(layer, [route("websocket.receive", echo)]):
        layer.send("websocket.receive", {"reply_channel": "r!slow", "text": "owed"})
        layer.send("websocket.receive", {"reply_channel": "f!fast", "text": "now"})
        assert answer(layer, "f!") == {"text": "now"}
        for _ in range(20):
            assert answer(layer) == {}
        while layer.receive(["r!"])[1] != {"text": "owed"} and time.monotonic() - started < OWED_SECONDS:
            time.sleep(0.001)
        # A machine that stood still for so long is the only reason to have given it up.
        assert time.monotonic() - started < OWED_SECONDS or "gave up" in caplog.text


def test_what_is_given_up_is_logged_by_target(layer: BaseChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        layer.send("r!slow", {})
    with caplog.at_level(logging.WARNING, "shmchan.worker"), worker(layer, [route("websocket.receive", echo)]):
        layer.send("websocket.receive", {"reply_channel": "r!slow", "text": "owed"})
        end = time.monotonic() + WATCHDOG
        while "gave up on 1 message to r!slow" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_stopped_worker_settles_what_it_owes(layer: BaseChannelLayer) -> None:
    for _ in range(20):
        layer.send("r!slow", {})
    with worker(layer, [route("websocket.receive", echo)]):
        layer.send("websocket.receive", {"reply_channel": "r!slow", "text": "owed"})
    # Stopping waited until the outbox was sent or given up; a lane that is still busy would show here.
    layer.send("websocket.receive", {"reply_channel": "r!slow", "text": "next"})
    lease = layer.lease(["websocket.receive"], 0)
    assert lease is not None
    assert lease.content["text"] in ("owed", "next")


def test_sigterm_finishes_what_runs_and_then_ends(layer: BaseChannelLayer) -> None:
    def consumer(message: Message) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        message.reply_channel.send({"text": "finished"})

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for _ in range(2):
        layer.send("job", {"reply_channel": "r!x"})
    assert run_worker(layer, [route("job", consumer)]) == 0
    assert layer.receive(["r!"]) == ("r!x", {"text": "finished"})
    assert layer.channel_statistics("job")["messages_pending"] == 1
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_an_ignored_sigint_stays_ignored(layer: BaseChannelLayer) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        seen = []
        stop = threading.Event()
        stop.set()
        run_worker(layer, [], stop=stop, ready=lambda: seen.append(signal.getsignal(signal.SIGINT)))
        assert seen == [signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("threads", [1, 3])
def test_when_the_layer_fails_the_worker_says_so_and_ends(layer: BaseChannelLayer, threads: int) -> None:
    with pytest.raises(LayerClosed):
        run_worker(layer, [route("job", echo)], threads=threads, ready=layer.close)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker-")]
