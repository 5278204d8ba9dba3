"""The soft limit of plain consumers, and the watch over them; what ends a process is seen in tests/system/test_wrong_use.py."""

import signal
import threading
import time

import pytest

from shmchan.exceptions import ConsumerTimeout
from shmchan.worker.limits import Limits

pytestmark = pytest.mark.timeout(60, method="thread")  # the other method has the alarm for itself
WATCHDOG = 30.0


def never(error: ConsumerTimeout) -> str:
    raise AssertionError("nothing was late")


def test_it_is_raised_where_the_consumer_is() -> None:
    def run() -> str:
        try:
            time.sleep(WATCHDOG)
        except ConsumerTimeout:
            return "tidied up"
        return "slept"

    assert Limits().run_soft(0.05, run, never) == "tidied up"


def test_what_was_not_caught_by_the_run_is_judged() -> None:
    assert Limits().run_soft(0.05, lambda: time.sleep(WATCHDOG), lambda error: f"late by {error.seconds}") == "late by 0.05"


def test_alarm_and_timer_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGALRM)
    assert Limits().run_soft(WATCHDOG, lambda: "in time", never) == "in time"
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_another_thread_is_left_alone() -> None:
    results: list[str] = []

    def run() -> str:
        time.sleep(0.01)
        return "done"

    thread = threading.Thread(target=lambda: results.append(Limits().run_soft(1e-6, run, never)))
    thread.start()
    thread.join(WATCHDOG)
    assert results == ["done"]


def test_watches_that_are_over_end_nothing() -> None:
    limits = Limits()
    watches = [limits.watch(seconds, "a consumer", lambda: pytest.fail("it was in time")) for seconds in (50, 40, 60)]
    assert limits._armed == min(watch.deadline for watch in watches)
    for watch in watches:
        watch.over()
    assert limits._armed is None
