"""
Timers as descriptors to poll, of the clock on the wall and of one that nobody sets.

Owns two timerfds. Python has them from 3.13 on; this is the same for all. The delay process runs it.
"""

import contextlib
import os

from shmchan._core import ffi, lib


class Timer:
    """
    One timer.

    Args:
        wall: it follows CLOCK_REALTIME, and becomes readable as well when that clock is set; else CLOCK_BOOTTIME, which
            goes on while the machine is suspended and which nobody sets.
    """

    def __init__(self, wall: bool) -> None:
        fd = ffi.new("int *")
        self._wall = wall
        if lib.shmc_timer_new(wall, fd) != lib.SHMC_OK:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self._fd = int(fd[0])

    def fileno(self) -> int:
        return self._fd

    def set(self, due_us: int | None) -> bool:
        """Let it be due then (microseconds of its clock; None: never). True: its clock was set meanwhile, look at it again."""
        with contextlib.suppress(BlockingIOError, OSError):  # ECANCELED tells of a clock that was set
            os.read(self._fd, 8)
        status = lib.shmc_timer_set(self._fd, self._wall, 0 if due_us is None else max(1, due_us) * 1000)
        if status == lib.SHMC_E_SYSTEM:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        return bool(status == lib.SHMC_INTERRUPTED)

    def close(self) -> None:
        os.close(self._fd)
