"""The machine's own clocks, and sleeping on them."""

import os
import threading

import pytest

from shmchan.delay.clock import Clocks, SystemSource
from shmchan.layers.timers import Timer


def test_it_wakes_when_the_time_has_come_on_either_clock() -> None:
    source = SystemSource()
    due = source.wall() + 30_000
    source.wait([], due, None)
    assert source.wall() >= due
    due = source.boot() + 30_000
    source.wait([], source.wall() + 10**9, due)
    assert source.boot() >= due
    source.close()


def test_a_time_in_the_past_is_now() -> None:
    source = SystemSource()
    source.wait([], 1, None)
    source.wait([], None, -5)
    source.close()


def test_it_wakes_when_something_can_be_read() -> None:
    source = SystemSource()
    read_fd, write_fd = os.pipe()
    thread = threading.Timer(0.02, os.write, (write_fd, b"x"))
    thread.start()
    source.wait([read_fd], None, None)
    assert os.read(read_fd, 1) == b"x"
    thread.join()
    os.close(read_fd)
    os.close(write_fd)
    source.close()


def test_a_clock_that_was_set_wakes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SystemSource()
    monkeypatch.setattr(Timer, "set", lambda self, due: True)  # what the timer says of a clock that was set
    source.wait([], source.wall() + 10**12, None)
    source.close()


def test_the_steady_clock_begins_as_the_wall_and_keeps_its_offset() -> None:
    source = SystemSource()
    clocks = Clocks(source)
    wall, steady = clocks.now()
    assert abs(wall - steady) < 60_000_000
    again = Clocks(source, clocks.boot_id, clocks.offset + 5_000_000_000, 0)
    assert again.offset == clocks.offset + 5_000_000_000
    assert abs(again.jump() + 5_000_000_000) < 60_000_000
    source.close()
