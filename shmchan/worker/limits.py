"""
The time that consumers may take.

Owns the alarm that raises ConsumerTimeout in a plain consumer (soft), and the thread that ends this process when a consumer is
not done some time after that (hard). It never touches a message: what a client is told is the handler's to say. Workers run it,
and only where a route has a ``timeout``.

==========================  =========================================  =====================================================
the consumer                soft, after ``timeout``                    hard, ``GRACE`` later
==========================  =========================================  =====================================================
plain, in the main thread   ConsumerTimeout is raised in it (SIGALRM)  504, then the process ends and is replaced
plain, in another thread    nothing can be raised there                the same
``async def``               its task is cancelled                      the same; a task that goes on, or blocks the loop
never lets go of the GIL    no Python code runs, so nothing            faulthandler's own thread, which needs no GIL, prints
                                                                       where it is and ends the process: 502
==========================  =========================================  =====================================================

Whatever else the process had in hand when it is ended meets its own crash policy.
"""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from inspect import iscoroutine
from typing import Any, NoReturn

from shmchan.exceptions import ConsumerTimeout

GRACE = 2.0  # seconds between the soft limit and the hard one
GIL_GRACE = 2.0  # seconds between the hard limit and the one that needs no GIL
EXIT_LATE = 70  # EX_SOFTWARE of sysexits.h
STDERR = 2
log = logging.getLogger("shmchan.worker")


class Watch:
    """One consumer whose time is limited, from its start to `over`; made by `Limits.watch`."""

    __slots__ = ("_limits", "answer", "deadline", "name", "seconds", "thread")

    def __init__(self, limits: "Limits", seconds: float, name: str, answer: Callable[[], object]) -> None:
        self._limits = limits
        self.seconds = seconds
        self.name = name
        self.answer = answer
        self.deadline = time.monotonic() + seconds + GRACE
        self.thread: int | None = threading.get_ident()

    def over(self) -> None:
        """The consumer is done. When it is too late this never returns, as its process is about to end."""
        self._limits.forget(self)


class Limits:
    """The time limits of one worker process. Its thread starts with the first limited consumer, and ends with the process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._armed: float | None = None

    # --- soft

    def run_soft(self, seconds: float, run: Callable[[], Any], judge: Callable[[ConsumerTimeout], Any]) -> Any:
        """
        Run a plain consumer, with ConsumerTimeout raised in it after so many seconds.

        Args:
            run: runs it, and judges what it raises; its result is returned.
            judge: gets a ConsumerTimeout that came in a moment when ``run`` did not look.
        """
        if threading.current_thread() is not threading.main_thread():
            return run()
        armed = True

        def ring(number: int, frame: object) -> None:
            if armed:
                raise ConsumerTimeout(seconds)

        result = None
        handler = signal.signal(signal.SIGALRM, ring)
        try:
            before = signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                result = run()
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, *before)
        except ConsumerTimeout as error:
            if iscoroutine(result):
                result.close()
            result = judge(error)
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        return result

    # --- hard

    def watch(self, seconds: float, name: str, answer: Callable[[], object]) -> Watch:
        """
        From now on this thread runs a consumer that has so many seconds, and `GRACE`.

        Args:
            name: what logs call it.
            answer: called before this process is ended because of it.
        """
        watch = Watch(self, seconds, name, answer)
        with self._changed:
            self._running.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._guard, name="limits", daemon=True)
                self._thread.start()
            if self._armed is None or watch.deadline < self._armed:
                self._arm()
                self._changed.notify()
        return watch

    def forget(self, watch: Watch) -> None:
        """See `Watch.over`."""
        with self._changed:
            self._running.discard(watch)
            if watch.deadline == self._armed:
                self._arm()

    def _arm(self) -> None:
        """Have faulthandler watch over the one that is due first, should none of our threads get the GIL."""
        self._armed = min((watch.deadline for watch in self._running), default=None)
        if self._armed is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            left = max(0.0, self._armed - time.monotonic()) + GIL_GRACE
            faulthandler.dump_traceback_later(left, exit=True, file=STDERR)

    def _guard(self) -> None:
        with self._changed:
            while True:
                left = None if self._armed is None else self._armed - time.monotonic()
                if left is None or left > 0:
                    self._changed.wait(left)
                else:
                    self._end_process(min(self._running, key=lambda watch: watch.deadline))

    def _end_process(self, watch: Watch) -> NoReturn:
        """Under the lock, which is never given back: whoever comes with `over` now waits for the end."""
        try:
            log.critical(
                "%s did not end within %g s after its %g s were over%s; this worker ends, and is replaced",
                watch.name,
                GRACE,
                watch.seconds,
                _place(watch.thread),
            )
            watch.answer()
        except Exception:
            log.exception("the client of %s cannot be told", watch.name)
        finally:
            logging.shutdown()
            os._exit(EXIT_LATE)


def _place(thread: int | None) -> str:
    """Where a thread is, for people."""
    frame = sys._current_frames().get(thread) if thread is not None else None
    return "" if frame is None else f" (it is at {frame.f_code.co_filename}:{frame.f_lineno})"
