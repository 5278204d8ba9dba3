"""
The supervisor: starts the front and the workers, watches them, replaces those that die, and stops all in order.

Owns the children and what a run does about signals. Never touches a connection or a message and never imports application
code, so there is little in it that can fail. Runs in the process that the user started; it has one thread and one loop, woken
by signals (through a wake-up pipe), by pidfds, by the children's reports and by the clock.

What leads from phase to phase:

==============  =======================================  ===============================================================
phase           what happens in it                       it ends when
==============  =======================================  ===============================================================
starting        children fork and import                 all are ready (running), or one cannot be (killing, StartFailed)
running         the dead are reaped and replaced         SIGTERM, SIGINT or SIGHUP (front stops)
front stops     it answers what runs, says 1012 to       it is gone (queue empties)
                WebSockets; workers are still replaced
queue empties   workers run what is still queued         nothing is pending (workers stop)
workers stop    they finish what they have in hand       all are gone (over)
killing         SIGKILL for all that is left             all are gone (over)
==============  =======================================  ===============================================================

A second signal, or the end of the graceful time, leads from each of the stopping phases to killing.
"""

import enum
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from shmchan.exceptions import ShmchanError
from shmchan.supervisor.backoff import Backoff
from shmchan.supervisor.child import EXIT_FAILED, EXIT_UNUSABLE, Child, Role, describe_exit

logger = logging.getLogger("shmchan.supervisor")

TICK = 1.0
"""Seconds between looks for processes of others that died attached to the segment: of those no SIGCHLD tells us."""

QUEUE_TICK = 0.02
"""Seconds between looks whether the queue is empty, while stopping."""

SLOW_START = 10.0
"""Seconds after which a start that is still waiting says for whom."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StartFailed(ShmchanError):
    """A child could not start; the message is what it said. All others have been stopped."""


class Segment(Protocol):
    """What the supervisor asks of the channel layer."""

    def reap(self) -> int:
        """Settle what dead processes left; returns how many there were."""


class Phase(enum.Enum):
    STARTING = "starting"
    RUNNING = "running"
    FRONT_STOPS = "front stops"
    QUEUE_EMPTIES = "queue empties"
    WORKERS_STOP = "workers stop"
    KILLING = "killing"
    OVER = "over"


STOPPING = (Phase.FRONT_STOPS, Phase.QUEUE_EMPTIES, Phase.WORKERS_STOP)


class Supervisor:
    """
    One run, from its first fork to its last wait.

    Args:
        segment: reaped after every death.
        roles: one child each; it lives as long as the run does.
        pending: how many messages wait for the workers; asked only while stopping.
        graceful_timeout: seconds that stopping may take before what is left is killed.
        started: called once when every child is ready.
        stopping: called once when the run is told to stop, before any child is.
    """

    def __init__(
        self,
        segment: Segment,
        roles: Sequence[Role],
        *,
        pending: Callable[[], int] = lambda: 0,
        graceful_timeout: float = 10.0,
        started: Callable[[], None] = lambda: None,
        stopping: Callable[[], None] = lambda: None,
    ) -> None:
        self.segment = segment
        self.roles = roles
        self.pending = pending
        self.graceful_timeout = graceful_timeout
        self.started = started
        self.stopping = stopping
        self.phase = Phase.STARTING
        self.children: dict[Role, Child] = {}
        self._backoffs = {role: Backoff() for role in roles}
        self._restarts: dict[Role, float] = {}
        self._deadline: float | None = None
        self._start_error: str | None = None
        self._exit_code = 0
        self._selector = selectors.PollSelector()  # which has no descriptor of its own that children would inherit
        self._reporting: dict[int, Child] = {}
        self._wakeup_fd, self._wakeup_write_fd = os.pipe()

    def run(self) -> int:
        """
        Start everything and stay until all is over. Call it in the main thread of a process without other threads.

        Returns:
            0 when every process ended by itself, 1 when one had to be killed or the segment was damaged.

        Raises:
            StartFailed: a child died before all were ready.
        """
        for fd in (self._wakeup_fd, self._wakeup_write_fd):
            os.set_blocking(fd, False)
        previous = {number: signal.signal(number, _noted) for number in (*STOP_SIGNALS, signal.SIGCHLD)}
        previous_fd = signal.set_wakeup_fd(self._wakeup_write_fd, warn_on_full_buffer=False)
        self._selector.register(self._wakeup_fd, selectors.EVENT_READ, self._on_signals)
        try:
            self._loop()
        finally:
            for child in list(self.children.values()):  # only after an error of our own: nothing may outlive us
                child.kill(signal.SIGKILL)
                child.wait()
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(self._wakeup_fd)
            os.close(self._wakeup_write_fd)
        if self._start_error is not None:
            raise StartFailed(self._start_error)
        return self._exit_code

    # The loop

    def _loop(self) -> None:
        now = time.monotonic()
        for role in self.roles:
            self._start(role, now)
        slow_at = now + SLOW_START
        while self.phase is not Phase.OVER:
            tick = QUEUE_TICK if self.phase is Phase.QUEUE_EMPTIES else TICK
            wakes = [now + tick, *self._restarts.values()]
            if self._deadline is not None:
                wakes.append(self._deadline)
            for key, _ in self._selector.select(max(0.0, min(wakes) - now)):
                if self._selector.get_map().get(key.fd) is key:  # not closed by an earlier one of this round
                    key.data()
            now = time.monotonic()
            self._reap()
            for role in [role for role, at in self._restarts.items() if at <= now]:
                del self._restarts[role]
                self._start(role, now)
            self._advance(now)
            if self.phase is Phase.STARTING and now >= slow_at:
                waiting = ", ".join(str(child) for child in self.children.values() if not child.ready)
                logger.warning("still waiting for %s to start", waiting)
                slow_at = now + SLOW_START

    def _advance(self, now: float) -> None:
        """Go on to the next phase where the present one is done; the table above."""
        if self.phase is Phase.STARTING and all(child.ready for child in self.children.values()):
            self.phase = Phase.RUNNING
            self.started()
        if self.phase in STOPPING and self._deadline is not None and now >= self._deadline:
            left = ", ".join(str(child) for child in self.children.values())
            logger.warning("not done after %g s of graceful stopping, killing %s", self.graceful_timeout, left)
            self._kill_all(EXIT_FAILED)
        if self.phase is Phase.FRONT_STOPS and not any(role.is_front for role in self.children):
            self.phase = Phase.QUEUE_EMPTIES
            self._restarts.clear()
        if self.phase is Phase.QUEUE_EMPTIES and (not self.children or self._queue_is_empty()):
            self.phase = Phase.WORKERS_STOP
            self._tell_all(signal.SIGTERM)
        if self.phase in (Phase.WORKERS_STOP, Phase.KILLING) and not self.children:
            self.phase = Phase.OVER

    def _queue_is_empty(self) -> bool:
        try:
            return self.pending() == 0
        except ShmchanError as error:
            logger.error("cannot see whether the queue is empty: %s", error)
            return True

    def _reap(self) -> None:
        """Settle what the dead left; a segment that cannot be settled ends the run, as nobody could trust it."""
        if self.phase is Phase.KILLING:
            return
        try:
            dead = self.segment.reap()
        except ShmchanError as error:
            logger.critical("the segment is not usable any more: %s; stopping, please start shmchan again", error)
            self._kill_all(EXIT_FAILED)
        else:
            if dead:
                logger.info("settled what %d dead process%s left in the segment", dead, "" if dead == 1 else "es")

    # What happens

    def _on_signals(self) -> None:
        for number in os.read(self._wakeup_fd, 4096):
            if number in STOP_SIGNALS:
                self._on_stop(signal.Signals(number))

    def _on_stop(self, number: signal.Signals) -> None:
        if self.phase is Phase.STARTING:
            logger.info("%s while starting: stopping", number.name)
            self._restarts.clear()
            self._begin_to_stop()
            self.phase = Phase.WORKERS_STOP
            self._tell_all(signal.SIGTERM)
        elif self.phase is Phase.RUNNING:
            logger.info("%s: finishing what runs, within %g s; once more stops at once", number.name, self.graceful_timeout)
            self._begin_to_stop()
            self.phase = Phase.FRONT_STOPS
            self._restarts = {role: at for role, at in self._restarts.items() if not role.is_front}
            self._tell_all(signal.SIGTERM, only_front=True)
        elif self.phase in STOPPING:
            logger.warning("%s again: stopping at once, what runs is lost", number.name)
            self._kill_all(EXIT_FAILED)

    def _on_report(self, child: Child) -> None:
        if not child.read_report():
            self._selector.unregister(child.report_fd)
            del self._reporting[child.report_fd]

    def _on_death(self, child: Child) -> None:
        now = time.monotonic()
        role = child.role
        self._selector.unregister(child.fd)
        if self._reporting.pop(child.report_fd, None) is not None:
            self._selector.unregister(child.report_fd)
        code = child.wait()
        del self.children[role]
        reason = child.error or describe_exit(code)
        if self.phase is Phase.STARTING:
            self._start_error = child.error or f"{role.name} {reason} while starting"
            self._kill_all(EXIT_UNUSABLE)
        elif self.phase is Phase.RUNNING or (self.phase is Phase.FRONT_STOPS and not role.is_front):
            delay = self._backoffs[role].delay(now - child.started)
            self._restarts[role] = now + delay
            logger.error("%s: %s; starting it again%s", child, reason, f" in {delay:g} s" if delay else "")
        elif self.phase in STOPPING and code not in (0, -signal.SIGTERM):
            # SIGTERM's own code is that of a child which was told to stop before it listened to signals.
            logger.error("%s: %s while stopping", child, reason)

    # What it does

    def _start(self, role: Role, now: float) -> None:
        ours = [self._wakeup_fd, self._wakeup_write_fd, *self._reporting, *(child.fd for child in self.children.values())]
        child = Child(role, now, ours)
        self.children[role] = child
        self._reporting[child.report_fd] = child
        self._selector.register(child.report_fd, selectors.EVENT_READ, lambda: self._on_report(child))
        self._selector.register(child.fd, selectors.EVENT_READ, lambda: self._on_death(child))
        logger.debug("started %s", child)

    def _begin_to_stop(self) -> None:
        self._deadline = time.monotonic() + self.graceful_timeout
        self.stopping()

    def _tell_all(self, number: signal.Signals, only_front: bool = False) -> None:
        for role, child in self.children.items():
            if role.is_front or not only_front:
                child.kill(number)

    def _kill_all(self, exit_code: int) -> None:
        self.phase = Phase.KILLING
        self._exit_code = exit_code
        self._restarts.clear()
        self._tell_all(signal.SIGKILL)


def _noted(number: int, frame: FrameType | None) -> None:
    """Nothing to do here: the interpreter has written the number into the wake-up pipe, and the loop reads it there."""
