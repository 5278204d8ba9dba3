"""
What could not be sent yet, because a target was full.

Owns the parked outboxes of one thread, and when they are tried again. It never waits. Workers run it.
"""

import logging
import time

from shmchan.layers.base import BaseChannelLayer, Parked

RETRY_SECONDS = 0.005  # between two tries of what is owed
MAX_PARKED = 16  # in one process
log = logging.getLogger("shmchan.worker")


class Owed:
    """The parked outboxes of one thread. While they wait for room the thread goes on with other lanes."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self.layer = layer
        self.parked: list[Parked] = []
        self._next_try = 0.0

    def __len__(self) -> int:
        return len(self.parked)

    def add(self, parked: Parked) -> None:
        """Keep one that a commit left."""
        self.parked.append(parked)

    def retry(self) -> None:
        """Push all of them, if the last time is long enough ago."""
        now = time.monotonic()
        if now < self._next_try:
            return
        self.parked = [parked for parked in self.parked if not self._push(parked)]
        self._next_try = now + RETRY_SECONDS

    def _push(self, parked: Parked) -> bool:
        done = self.layer.push(parked)
        if done:
            for channel, count in parked.dropped.items():
                log.warning("gave up on %d message%s to %s: no room in time", count, "" if count == 1 else "s", channel)
        return done
