"""
Order among the messages of one connection, beyond what lanes give.

Owns :func:`enforce_ordering`, and how it remembers a connection's next order: as the one member ``next.N`` of a group of its own,
so that any worker knows it and it goes when nobody needs it. It never blocks: what came too early waits in a channel of its own.
Workers run it.
"""

import functools
import hashlib
import inspect
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

    if inspect.iscoroutinefunction(consumer):

        @functools.wraps(consumer)
        async def ordered_later(message: Message, *args: Any, **kwargs: Any) -> Any:
            turn = _turn_of(message)
            if turn is not None:
                with turn:
                    return await consumer(message, *args, **kwargs)
            return None

        return ordered_later

    @functools.wraps(consumer)
    def ordered(message: Message, *args: Any, **kwargs: Any) -> Any:
        turn = _turn_of(message)
        if turn is not None:
            with turn:
                return consumer(message, *args, **kwargs)
        return None

    return ordered


def _turn_of(message: Message) -> "_Turn | None":
    """A message's turn; None if it came too early, and was put aside."""
    order = message.get("order")
    if type(order) is not int:
        raise ValueError(
            f"@enforce_ordering needs an int as 'order' in its messages; this one on {message.channel_name} has {order!r}. "
            "The front counts them, and so does WSClient(ordered=True) in tests; count yours"
        )
    if message.reply_channel is None:
        raise ValueError(f"@enforce_ordering needs a reply_channel in its messages; this one on {message.channel_name} has none")
    turn = _Turn(message, order)
    if order <= turn.expected():
        return turn
    waiting = {"channel": message.channel_name, "content": message.content}
    Channel(turn.waiting_channel, channel_layer=message.channel_layer).send(waiting)
    return None


class _Turn:
    """Whose turn it is on one connection; as a context, the turn of one message."""

    def __init__(self, message: Message, order: int) -> None:
        assert message.channel_layer is not None
        assert message.reply_channel is not None
        self.layer: BaseChannelLayer = message.channel_layer
        self.channel = message.channel_name
        self.order = order
        ident = hashlib.sha256(message.reply_channel.name.encode()).hexdigest()[:32]
        self.group = f"shmchan.order.{ident}"
        self.waiting_channel = f"shmchan.early?{ident}"
        self.next: int | None = None

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and issubclass(kind, ConsumeLater):
            return  # it will run again, and its successors must not overtake it
        self.done(immediately=kind is not None)  # its route may discard what it buffered, but not its successors

    def expected(self) -> int:
        """The highest order that may run now. While nothing is known only connect must be first; it need not be decorated."""
        known = [int(member.removeprefix("next.")) for member in self.layer.group_channels(self.group)]
        self.next = max(known, default=None)
        if self.next is not None:
            return self.next
        return 0 if self.channel == "websocket.connect" else 1

    def done(self, immediately: bool) -> None:
        """This order has run: remember the next one, and send what waited for it on its way again."""
        if self.channel == "websocket.disconnect":
            self._forget(self.next)
            return
        following = self.order + 1
        if self.next is None or following > self.next:
            self.layer.group_add(self.group, f"next.{following}")
            self._forget(self.next)
        while self.layer.channel_statistics(self.waiting_channel)["messages_pending"]:  # cheaper than to receive nothing
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
