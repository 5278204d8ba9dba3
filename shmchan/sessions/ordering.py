"""
Order among the messages of one connection, beyond what lanes give.

Owns :func:`enforce_ordering`, and how it remembers a connection's next order: as the one member ``next.N`` of a group of its own,
so that any worker knows it and it goes when nobody needs it. It never blocks: what came too early waits in a channel of its own.
Workers run it.
"""

import functools
import hashlib
import logging
from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

from shmchan.channel import Channel
from shmchan.exceptions import ChannelFull, ConsumeLater
from shmchan.layers.base import BaseChannelLayer
from shmchan.message import Message

log = logging.getLogger("shmchan.worker")
Consumer = TypeVar("Consumer", bound=Callable[..., Any])


@overload
def enforce_ordering(func: Consumer) -> Consumer: ...
@overload
def enforce_ordering(func: None = None, slight: Literal[False] = False) -> Callable[[Consumer], Consumer]: ...


def enforce_ordering(func: Callable[..., Any] | None = None, slight: bool = False) -> Any:
    """
    Run a consumer in the order that its messages' ``order`` says, also for messages that were injected out of order.

    One that comes before its predecessors waits until they have run; those it waits for must be decorated too, except for
    connect. Messages of the front are in order anyway.

    Args:
        func: the consumer.
        slight: has been no mode since Channels 1.0.

    Raises:
        ValueError: ``slight`` is set; when the consumer runs: the message has no ``order`` (an int), or no ``reply_channel``.
    """
    if slight:
        raise ValueError("slight=True is no mode any more: all messages of a connection are in order; leave it out")
    if func is None:
        return enforce_ordering
    consumer = func

    @functools.wraps(consumer)
    def ordered(message: Message, *args: Any, **kwargs: Any) -> Any:
        order = message.get("order")
        if type(order) is not int:
            raise ValueError(
                f"@enforce_ordering needs an int as 'order' in its messages; this one on {message.channel_name} has {order!r}"
            )
        if message.reply_channel is None:
            raise ValueError(
                f"@enforce_ordering needs a reply_channel in its messages; this one on {message.channel_name} has none"
            )
        turn = _Turn(message.channel_layer, message.reply_channel.name)  # type: ignore[arg-type]
        if order > turn.expected(message.channel_name):
            waiting = {"channel": message.channel_name, "content": message.content}
            Channel(turn.waiting_channel, channel_layer=message.channel_layer).send(waiting)
            return None
        try:
            result = consumer(message, *args, **kwargs)
        except ConsumeLater:
            raise  # it will run again, and its successors must not overtake it
        except BaseException:
            turn.done(message, order, immediately=True)  # its route may discard what it buffered, but not its successors
            raise
        turn.done(message, order)
        return result

    return ordered


class _Turn:
    """Whose turn it is on one connection."""

    def __init__(self, layer: BaseChannelLayer, reply_channel: str) -> None:
        self.layer = layer
        ident = hashlib.sha256(reply_channel.encode()).hexdigest()[:32]
        self.group = f"shmchan.order.{ident}"
        self.waiting_channel = f"shmchan.early?{ident}"
        self.next: int | None = None

    def expected(self, channel: str) -> int:
        """The highest order that may run now. While nothing is known only connect must be first; it need not be decorated."""
        known = [int(member.removeprefix("next.")) for member in self.layer.group_channels(self.group)]
        self.next = max(known, default=None)
        if self.next is not None:
            return self.next
        return 0 if channel == "websocket.connect" else 1

    def done(self, message: Message, order: int, immediately: bool = False) -> None:
        """This order has run: remember the next one, and send what waited for it on its way again."""
        if message.channel_name == "websocket.disconnect":
            self._forget(self.next)
            return
        following = order + 1
        if self.next is None or following > self.next:
            self.layer.group_add(self.group, f"next.{following}")
            self._forget(self.next)
        while True:
            channel, waiting = self.layer.receive([self.waiting_channel])
            if channel is None or waiting is None:
                return
            try:
                Channel(waiting["channel"], channel_layer=self.layer).send(waiting["content"], immediately=immediately)
            except ChannelFull as full:
                log.error("a message that had waited for its order is dropped: %s", full)

    def _forget(self, order: int | None) -> None:
        if order is not None:
            self.layer.group_discard(self.group, f"next.{order}")
