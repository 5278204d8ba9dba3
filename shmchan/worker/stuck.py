"""
Consumers that hold their thread for long, told while they do.

Owns the thread that looks now and then what the threads of a worker have in hand, and one warning for each message that stays
there. It ends nobody: that is what a route's ``timeout`` is for, see :mod:`shmchan.worker.limits`. Workers run it. A message
costs one store of an attribute.
"""

import logging
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Self

from shmchan.layers.base import Lease

LONG = 60.0  # seconds
LOOK = 10.0  # seconds between two looks
FRAMES = 12  # of the stack that is shown, the innermost ones
log = logging.getLogger("shmchan.worker")


class Hand:
    """What one thread has in hand: ``lease``, None while it waits for messages. Made in that thread."""

    __slots__ = ("lease", "thread")

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.thread = threading.get_ident()


class StuckWatch:
    """
    Looks at the hands of a worker's threads, as a context, from a thread of its own.

    Args:
        long: seconds after which a message that is still in hand is told of.
        look: seconds between two looks.
    """

    def __init__(self, long: float = LONG, look: float = LOOK) -> None:
        self.long = long
        self.look = look
        self._hands: list[Hand] = []
        self._since: dict[Hand, tuple[Lease, float]] = {}
        self._told: dict[Hand, Lease] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stuck", daemon=True)

    def hand(self) -> Hand:
        """The hand of the thread that calls this."""
        hand = Hand()
        self._hands.append(hand)
        return hand

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self.look):
            now = time.monotonic()
            for hand in list(self._hands):
                self._look(hand, now)

    def _look(self, hand: Hand, now: float) -> None:
        lease = hand.lease
        before, since = self._since.get(hand, (None, now))
        if lease is None:
            self._since.pop(hand, None)
            self._told.pop(hand, None)
        elif lease is not before:
            self._since[hand] = (lease, now)
        elif now - since >= self.long and self._told.get(hand) is not lease:
            self._told[hand] = lease
            log.warning(
                "a message on %s has been in a consumer's hand for %.0f s, whose thread takes nothing else meanwhile; give its "
                "route a timeout=, or the worker more --threads (this is said once). It is at:\n%s",
                where(lease),
                now - since,
                stack(hand.thread),
            )


def where(lease: Lease) -> str:
    """A message's channel, and its path if it has one."""
    content = lease.content if isinstance(lease.content, dict) else {}
    path = content.get("path")
    return f"{lease.channel} {path!r}" if isinstance(path, str) else lease.channel


def stack(thread: int) -> str:
    """The innermost frames of a thread, as tracebacks show them."""
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)[-FRAMES:]).rstrip() if frame is not None else "  (its thread has ended)"
