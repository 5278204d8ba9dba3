"""
Two clocks, and waiting for one of them.

Owns what time it is. WALL is the clock that people read and set: ``at`` and cron expressions go by it. STEADY goes as many
seconds as pass, suspended ones too, whatever is done to the other: ``delay`` and periods go by it, so that ten minutes are ten
minutes. It is CLOCK_BOOTTIME plus an offset, kept in the heap; when the machine was started anew, the wall says how long it was
off. The delay process runs it. Times are microseconds.
"""

import select
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from shmchan.layers.timers import Timer

LONGEST_WAIT = 60.0
"""Seconds after which the queue is looked at though nobody rang: a sender that was stopped between queueing and ringing rings no
bell, and one that was killed there rings it when it is reaped."""


class Source(Protocol):
    """Where the times come from; tests bring their own."""

    def wall(self) -> int:
        """Microseconds since 1970, of the clock that people set."""

    def boot(self) -> int:
        """Microseconds since the machine was started, suspended ones too."""

    def boot_id(self) -> str:
        """Another one after each start of the machine."""

    def wait(self, fds: Iterable[int], wall: int | None, boot: int | None, seconds: float | None = None) -> None:
        """
        Sleep until a descriptor is readable or a time has come, or somebody sets the clock.

        Args:
            fds: descriptors to wait for.
            wall, boot: when to wake at the latest, on either clock; None: never.
            seconds: how long to sleep at most.
        """

    def close(self) -> None:
        """Give up what it has open."""


class SystemSource:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._timers = Timer(wall=True), Timer(wall=False)

    def wall(self) -> int:
        return time.time_ns() // 1000

    def boot(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def wait(self, fds: Iterable[int], wall: int | None, boot: int | None, seconds: float | None = None) -> None:
        if self._timers[0].set(wall) | self._timers[1].set(boot):
            return
        poll = select.poll()
        for fd in (*fds, *(timer.fileno() for timer in self._timers)):
            poll.register(fd, select.POLLIN)
        poll.poll((LONGEST_WAIT if seconds is None else seconds) * 1000)

    def close(self) -> None:
        for timer in self._timers:
            timer.close()


class Clocks:
    """
    The two clocks of one heap.

    Args:
        source: where the times come from.
        boot_id, offset, skew: what was kept the last time; see the attributes.

    Attributes:
        boot_id: of the start of the machine that ``offset`` belongs to.
        offset: of STEADY beyond the time since that start.
        skew: of STEADY beyond WALL, as it was last found.
    """

    def __init__(self, source: Source, boot_id: str | None = None, offset: int = 0, skew: int = 0) -> None:
        self.source = source
        self.boot_id = source.boot_id()
        self.skew = skew
        self.offset = offset if boot_id == self.boot_id else source.wall() + skew - source.boot()

    def now(self) -> tuple[int, int]:
        """What WALL and STEADY show."""
        return self.source.wall(), self.source.boot() + self.offset

    def jump(self) -> int:
        """How far WALL was set forwards since ``skew`` was true (microseconds; negative: backwards)."""
        wall, steady = self.now()
        return self.skew - (steady - wall)

    def wait(self, fds: Iterable[int], wall: int | None, steady: int | None, seconds: float | None = None) -> None:
        """Sleep until one of these, as `Source.wait` does."""
        self.source.wait(fds, wall, None if steady is None else steady - self.offset, seconds)
