"""
What a consumer has sent that did not go out yet.

Owns the buffer of one consumer's run, and the context variable by which `Channel.send` and `Group.send` find it. It never sends:
its worker commits what is in it. Workers and test clients run it.
"""

import threading
from contextvars import ContextVar
from typing import Literal

from shmchan.layers.base import BaseChannelLayer, Outbox


class Pending:
    """
    The sends of one consumer, in call order.

    Args:
        layer: the layer of the message that is consumed; what goes there is committed together with it.

    Attributes:
        outbox: what goes to that layer.
        elsewhere: what goes to other layers: ``(layer, kind, name, payload)``.
    """

    __slots__ = ("_at_once", "_lock", "_open", "elsewhere", "layer", "outbox")

    def __init__(self, layer: BaseChannelLayer) -> None:
        self.layer = layer
        self.outbox = Outbox()
        self.elsewhere: list[tuple[BaseChannelLayer, str, str, bytes]] = []
        self._at_once: tuple[str, ...] = ()
        self._open = True
        self._lock = threading.Lock()

    def add(self, layer: BaseChannelLayer, kind: Literal["channel", "group"], name: str, payload: bytes) -> bool:
        """
        Keep a message until the consumer is done.

        Returns:
            False if it is done already: then nobody would send it, and the caller must. Threads may outlive their consumer.
        """
        with self._lock:
            if not self._open:
                return False
            if layer is self.layer:
                self.outbox.items.append((kind, name, payload))
            else:
                self.elsewhere.append((layer, kind, name, payload))
            return True

    def note(self, name: str) -> None:
        """Remember that something was sent to this channel at once."""
        if name not in self._at_once:  # a stream sends to one channel a thousand times
            self._at_once = (*self._at_once, name)

    def answered(self, name: str) -> bool:
        """Whether something was sent to this channel, at once or not."""
        return name in self._at_once or any(item[1] == name and item[0] == "channel" for item in self.outbox.items)

    def answered_at_once(self, name: str) -> bool:
        """Whether something went to this channel already."""
        return name in self._at_once

    def close(self) -> Outbox:
        """The consumer is done: what comes now goes out by itself."""
        with self._lock:
            self._open = False
            return self.outbox


current: ContextVar[Pending | None] = ContextVar("shmchan_pending", default=None)
