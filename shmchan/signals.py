"""
Signals of a worker: places where other code can hang itself in.

Owns the list of receivers. It runs where the worker runs; what a receiver raises is logged and goes no further.
"""

import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("shmchan.worker")
Receiver = Callable[..., object]


class Signal:
    """
    One signal.

    Args:
        name: what logs call it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.receivers: tuple[tuple[Receiver, object], ...] = ()

    def connect(self, receiver: Receiver, sender: object = None) -> Receiver:
        """
        Call a receiver from now on; connecting it twice changes nothing.

        Args:
            receiver: called with ``sender`` and the signal's keyword arguments.
            sender: only for this sender; None for any.

        Returns:
            The receiver, so that it can be used as a decorator.
        """
        if not callable(receiver):
            raise TypeError(f"a receiver of {self.name} is callable, this is {receiver!r}")
        if (receiver, sender) not in self.receivers:
            self.receivers = (*self.receivers, (receiver, sender))
        return receiver

    def disconnect(self, receiver: Receiver) -> bool:
        """Call a receiver no more, whatever its sender was; whether it was connected."""
        left = tuple(pair for pair in self.receivers if pair[0] != receiver)
        found = len(left) != len(self.receivers)
        self.receivers = left
        return found

    def send(self, sender: object, **kwargs: Any) -> None:
        """Call the receivers, in the order they were connected. What they raise is logged."""
        for receiver, wanted in self.receivers:
            if wanted is None or wanted is sender:
                try:
                    receiver(sender=sender, **kwargs)
                except Exception:
                    log.exception("a receiver of %s failed: %r", self.name, receiver)


consumer_started = Signal("consumer_started")
"""Before a consumer runs; keyword argument ``message``, a `Message`."""

consumer_finished = Signal("consumer_finished")
"""After a consumer ran, or raised, and its messages went out; keyword argument ``message``, a `Message`."""

worker_ready = Signal("worker_ready")
"""Once in each thread of a worker, before its first message. No keyword arguments."""

worker_process_ready = Signal("worker_process_ready")
"""Once in each worker process, before its first message: the place to open what processes do not share. No keyword arguments."""
