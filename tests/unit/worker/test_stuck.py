"""A consumer that holds its thread for long is told of once, with the place where it is; others are not."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shmchan import Message, route
from shmchan.layers import InMemoryChannelLayer
from shmchan.worker import run_worker, stuck
from shmchan.worker.stuck import Hand, StuckWatch

WATCHDOG = 30.0


@pytest.fixture
def layer() -> Iterator[InMemoryChannelLayer]:
    with InMemoryChannelLayer() as layer:
        yield layer


def in_hand(hand: Hand, layer: InMemoryChannelLayer, **content: Any) -> None:
    layer.send("http.request", content)
    hand.lease = layer.lease(["http.request"], 0.0)


def test_a_message_that_stays_is_told_once_and_those_that_go_are_not(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    watch = StuckWatch(long=60.0)
    hand = watch.hand()
    watch._look(hand, 0.0)
    in_hand(hand, layer, path="/a")
    watch._look(hand, 10.0)
    in_hand(hand, layer, path="/b")
    for now in (60.0, 80.0, 119.0):
        watch._look(hand, now)
    assert caplog.messages == []
    for now in (120.0, 130.0, 200.0):
        watch._look(hand, now)
    (told,) = caplog.messages
    assert told.startswith("a message on http.request '/b' has been in a consumer's hand for 60 s")
    assert "test_a_message_that_stays_is_told_once" in told
    assert "timeout=" in told
    hand.lease = None
    watch._look(hand, 210.0)
    in_hand(hand, layer)
    for now in (220.0, 279.0, 280.0):
        watch._look(hand, now)
    assert caplog.messages[1:][0].startswith("a message on http.request has been")
    assert len(caplog.messages) == 2


def test_a_thread_that_has_ended_is_said(layer: InMemoryChannelLayer) -> None:
    assert "has ended" in stuck.stack(-1)


def test_a_worker_tells_of_its_consumer(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shmchan.worker.runner.StuckWatch", lambda: StuckWatch(long=0.05, look=0.01))
    caplog.set_level(logging.WARNING, "shmchan.worker")
    done, stop = threading.Event(), threading.Event()

    def waits_for_somebody(message: Message) -> None:
        assert done.wait(WATCHDOG)

    layer.send("job", {})
    worker = threading.Thread(target=run_worker, args=(layer, [route("job", waits_for_somebody)]), kwargs={"stop": stop})
    worker.start()
    try:
        deadline = time.monotonic() + WATCHDOG
        while not caplog.messages:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        done.set()
        stop.set()
        worker.join(WATCHDOG)
    (told,) = caplog.messages
    assert "a message on job has been" in told
    assert "in waits_for_somebody" in told
    assert not any(thread.name == "stuck" for thread in threading.enumerate())
