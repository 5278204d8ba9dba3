"""
The contract of a channel layer: what applications, workers and fronts may ask of it.

Owns the abstract classes and what every implementation shares: the types that are handed over, the crash policies, the key of
an ordered message. It never stores a message. Every process runs it.

Three rooms look at a layer. Applications use the ASGI 1.0 draft's methods (`send`, `receive`, groups, statistics). Workers take
messages by `lease`, and give them back by `commit` or `requeue`. A front opens a `Port` and talks through that.
"""

import abc
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, Literal, Self, TypedDict

from shmchan import exceptions, names
from shmchan.layers.memories import Memories, UserId

Message = dict[str, Any]
Kind = Literal["http", "websocket"]
Policy = Literal["notify", "drop", "redeliver", "dead_letter"]
Item = tuple[Literal["channel", "group"], str, bytes]

POLICIES: tuple[Policy, ...] = ("notify", "drop", "redeliver", "dead_letter")
FRONT_CHANNELS = frozenset(["http.request", "http.disconnect", "websocket.connect", "websocket.receive", "websocket.disconnect"])
DELAY_CHANNEL = "asgi.delay"
DEAD_CHANNEL = "shmchan.dead"
NEVER_EXPIRING = frozenset([DELAY_CHANNEL, DEAD_CHANNEL])
OWED_SECONDS = 2.0  # how long a parked outbox is tried again
MAX_REDELIVERIES = 3
HTTP_SESSION_SECONDS = 600.0  # that a session of a request is kept, whose end no worker may hear of
MAX_SESSION_SIZE = 65000  # bytes of a connection's session, encoded: one block of the pool, copied under a lock


def default_policy(channel: str) -> Policy:
    """What becomes of a message whose worker was killed, where its route does not say."""
    return "notify" if channel in FRONT_CHANNELS else "drop"


class ChannelStatistics(TypedDict):
    """Counts of one channel, since the layer was made (a ``?`` channel's: since it was last empty); ages in seconds."""

    messages_count: int
    messages_count_per_second: float
    messages_pending: int
    messages_max_age: float
    channel_full_count: int
    channel_full_count_per_second: float


class GlobalStatistics(ChannelStatistics):
    """Counts of a whole layer; memory in bytes, back to its start value when nothing is queued."""

    memory_total: int
    memory_used: int


class Lease:
    """
    One message in one worker's hand, until it is committed or requeued.

    Attributes:
        channel: the name of the channel it came on.
        content: the message.
        attempts: how often it was leased before.
        token: how the layer finds it again; nobody else looks at it.
    """

    __slots__ = ("attempts", "channel", "content", "token")

    def __init__(self, channel: str, content: Message, attempts: int, token: Any) -> None:
        self.channel = channel
        self.content = content
        self.attempts = attempts
        self.token = token


class Outbox:
    """
    What a consumer sent, in call order: goes out by `commit` as one unit.

    Attributes:
        items: ``(kind, name, payload)``, names checked and payloads encoded already.
    """

    __slots__ = ("items",)

    def __init__(self, items: list[Item] | None = None) -> None:
        self.items: list[Item] = [] if items is None else items

    def channel(self, name: str, payload: bytes) -> None:
        """Add a message to a channel."""
        self.items.append(("channel", name, payload))

    def group(self, name: str, payload: bytes) -> None:
        """Add a message to a group; who its members are is decided at the commit."""
        self.items.append(("group", name, payload))

    def clear(self) -> None:
        """Drop everything."""
        self.items.clear()

    def drop(self, name: str) -> None:
        """Drop what goes to the channel of this name."""
        self.items[:] = [item for item in self.items if item[0] != "channel" or item[1] != name]


class Parked:
    """
    An outbox whose next target is full. `push` it now and then until that returns True.

    Attributes:
        dropped: what was given up after the deadline: how many messages, by the name of their channel.
        token: how the layer finds the rest; nobody else looks at it.
    """

    __slots__ = ("dropped", "token")

    def __init__(self, token: Any) -> None:
        self.dropped: dict[str, int] = {}
        self.token = token


class GroupReceivers(list[str]):
    """
    The reply channels that a group's message goes to; a message to one channel comes with a plain list.

    The front tells them apart while a handshake waits: what comes through a group accepts only after the connect consumer.

    Attributes:
        group: its name.
    """

    __slots__ = ("group",)

    def __init__(self, group: str, channels: Iterable[str]) -> None:
        super().__init__(channels)
        self.group = group


class Port(abc.ABC):
    """
    A front's end of the layer: its reply channels, their queue, and the disconnects it owes. One thread uses it.

    Attributes:
        http_prefix: ``http.response.<id>!``.
        websocket_prefix: ``websocket.send.<id>!``.
    """

    http_prefix: str
    websocket_prefix: str

    @abc.abstractmethod
    def fileno(self) -> int | None:
        """A descriptor that becomes readable when there is something to drain; None: use `on_ready`."""

    def on_ready(self, callback: Callable[[], object] | None) -> None:
        """
        Have a callback called, from whatever thread sends, when there is something to drain and the bell was armed.

        Only where `fileno` is None. It must not call the layer; ``loop.call_soon_threadsafe`` is what it is for.
        """
        raise NotImplementedError(f"{type(self).__name__} has a fileno() to wait for")

    @abc.abstractmethod
    def new_reply_channel(self, kind: Kind) -> str:
        """A name nobody has, under the prefix of this kind."""

    @abc.abstractmethod
    def connect(self, reply_channel: str, message: Message, disconnect: Message) -> None:
        """
        Send a ``websocket.connect`` and reserve the ``websocket.disconnect`` that will follow it, whatever happens.

        Args:
            reply_channel: the connection, and the lane of its messages.
            message: the whole message, with its reply_channel.
            disconnect: its reply_channel, ``code`` 1006, path and order; what is sent if this process dies.

        Raises:
            ChannelFull: nothing was sent or reserved.
            TypeError: a value cannot travel.
        """

    @abc.abstractmethod
    def receive(self, reply_channel: str, message: Message) -> None:
        """
        Send a ``websocket.receive`` of a connected reply channel.

        Raises:
            ChannelFull: stop reading that socket, and try again.
            TypeError, MessageTooLarge: it cannot travel.
        """

    @abc.abstractmethod
    def disconnect(self, reply_channel: str, code: int) -> None:
        """
        Send the reserved ``websocket.disconnect`` with this code. Never full; the second time nothing happens.

        Its ``order`` is one more than that of the last message that was sent.
        """

    @abc.abstractmethod
    def send(self, channel: str, message: Message) -> None:
        """
        Send anything else: ``http.request``, ``http.request.body?…``, ``http.disconnect``.

        Raises:
            ChannelFull, MessageTooLarge, TypeError: it cannot be sent, or cannot travel.
        """

    @abc.abstractmethod
    def drain(self, limit: int = 64) -> list[tuple[list[str], Message]]:
        """
        Take at most ``limit`` messages, oldest first.

        Returns:
            ``([reply channels], message)`` each: one entry, with `GroupReceivers`, for all receivers of a group's message. An
            empty list means that the bell is armed, and rings for the next one.
        """

    @abc.abstractmethod
    def credit(self, reply_channel: str, count: int = 1) -> None:
        """The socket took the bytes of ``count`` messages; until then they counted against that channel's capacity."""

    def dropped(self, channel: str, count: int = 1) -> None:  # noqa: B027 - a layer need not count them
        """Clients' messages that this channel had no room for, and that were given up: counted where a layer counts drops."""

    def connecting(self, reply_channel: str) -> bool:
        """
        Whether the ``websocket.connect`` of this connection still waits or is in a worker's hand.

        When it returns False, everything that the connect consumer sent can be drained. A layer that cannot tell says False.
        """
        return False

    def left(self, channel: str) -> None:  # noqa: B027 - a layer need not know users
        """Nobody is behind this reply channel any more: its user leaves the groups in which it has one."""

    def counts(self, counters: Sequence[str]) -> memoryview:
        """
        Where the front counts: one u64 for each counter, in this order. Adding there is no call of the layer.

        A layer that several processes see shows them in `BaseChannelLayer.front_statistics`, and a front that takes the place of
        a dead one goes on counting where that stopped. Otherwise they are the front's alone, from 0.
        """
        return memoryview(bytearray(8 * len(counters))).cast("Q")

    @abc.abstractmethod
    def listens(self, channel: str) -> bool:
        """Whether a worker takes messages of this channel."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give up the port: its channels leave their groups, what is queued is dropped, each connection gets its disconnect."""


class BaseChannelLayer(Memories):
    """
    A channel layer.

    Attributes:
        name: the instance it belongs to.
        expiry: seconds after which an unread message is dropped.
        group_expiry: seconds after which a membership ends that nobody renewed.
        capacity: messages that a channel holds, unless ``channel_capacity`` says otherwise.
        router: the :class:`shmchan.routing.Router` of this process, once there is one.
    """

    ChannelFull: ClassVar[type[exceptions.ChannelFull]] = exceptions.ChannelFull
    MessageTooLarge: ClassVar[type[exceptions.MessageTooLarge]] = exceptions.MessageTooLarge

    name: str
    expiry: float
    group_expiry: float
    capacity: int
    router: Any = None

    @property
    def extensions(self) -> list[str]:
        """The extensions of the ASGI 1.0 draft that are there."""
        return ["groups", "flush", "statistics", "async"]

    # --- applications

    @abc.abstractmethod
    def send(self, channel: str, message: Message) -> None:
        """
        Send a message.

        Args:
            channel: any channel's name; ``prefix!x`` goes to the reader of ``prefix!``.
            message: a dict of plain values; it may be changed afterwards without harm.

        Raises:
            TypeError: the name is not allowed, or something in the message cannot travel.
            ChannelFull: the channel has as many messages as it holds.
            MessageTooLarge: the message is too long. In all three cases nothing was sent.

        Delivery: at most once. Source: ASGI 1.0 draft, "send".
        """

    @abc.abstractmethod
    def receive(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, Message] | tuple[None, None]:
        """
        Take the oldest unexpired message from one of the channels.

        Args:
            channels: non-empty list of names; their order is no priority. ``prefix!`` stands for all its virtual channels.
            block: wait for a message instead of returning at once.
            timeout: seconds to wait at most, with ``block``; None: for ever.

        Returns:
            ``(channel, message)`` with the full name of the channel, or ``(None, None)``.

        Raises:
            TypeError: channels is no such list.

        Delivery: at most once. Source: ASGI 1.0 draft, "receive".
        """

    def receive_many(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, Message] | tuple[None, None]:
        """The older name of `receive`."""
        return self.receive(channels, block, timeout)

    @abc.abstractmethod
    async def receive_async(self, channels: Sequence[str]) -> tuple[str, Message]:
        """Wait for a message without blocking the event loop. Cancelled, it has taken none."""

    def forget(self, channel: str) -> None:
        """Let go of what this thread keeps to receive on a channel alone, which it will hardly receive on again."""

    @abc.abstractmethod
    def new_channel(self, pattern: str) -> str:
        """
        A name that nobody has.

        Args:
            pattern: a name that ends in ``?`` or ``!``.

        Raises:
            TypeError: it does not.
        """

    @abc.abstractmethod
    def group_add(self, group: str, channel: str, user: UserId | None = None) -> None:
        """
        Add a channel to a group, or renew its membership, for `group_expiry` seconds.

        Args:
            user: whose channel it is; that user is present in the group while one channel of theirs is a member with it.

        Raises:
            TypeError: a name is not allowed, or user is no str and no int.
            ChannelFull: there is no room for one more user.
        """

    @abc.abstractmethod
    def group_discard(self, group: str, channel: str) -> None:
        """Take a channel out of a group; nothing happens if it is not in it."""

    @abc.abstractmethod
    def group_channels(self, group: str) -> list[str]:
        """The channels in a group, in no particular order."""

    @abc.abstractmethod
    def send_group(self, group: str, message: Message, history: int = 0) -> None:
        """
        Send a message to every channel in a group. Never raises ChannelFull: what is dropped for a full member is counted.

        Args:
            history: how many messages the group's history keeps, this one included; 0: it is not kept.

        Raises:
            TypeError: the name is not allowed, or something in the message cannot travel.
            MessageTooLarge: the message is too long.
        """

    def is_resting(self, channels: Collection[str]) -> bool:
        """
        Whether nothing on these channels is in anybody's hand, and nothing can be taken now.

        What waits there all the same was put back for later (`requeue` with a delay), or stands in its lane behind that. A layer
        that cannot tell says False.
        """
        return False

    @abc.abstractmethod
    def flush(self) -> None:
        """
        Drop every queued message, every history and every membership. What is leased stays leased, who is connected stays so.
        """

    @abc.abstractmethod
    def global_statistics(self) -> GlobalStatistics:
        """Counts of the whole layer."""

    @abc.abstractmethod
    def channel_statistics(self, channel: str) -> ChannelStatistics:
        """Counts of one channel; of ``prefix!x`` those of its queue, except for what is pending."""

    def front_statistics(self) -> dict[str, int]:
        """
        What the instance's fronts served, refused and dropped since it began, by the names in `shmchan.front.counters`.

        Empty if there was no front, or where a front counts for itself alone.
        """
        return {}

    @abc.abstractmethod
    def close(self) -> None:
        """Leave the layer; everything afterwards raises LayerClosed. Closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- workers

    @abc.abstractmethod
    def declare_parallel(self, channel: str) -> None:
        """From now on messages of this ``websocket.*`` channel are not ordered by their connection."""

    @abc.abstractmethod
    def encode(self, message: Message) -> bytes:
        """
        A message as outboxes hold it.

        Raises:
            TypeError: something in it cannot travel; the text names the key.
            MessageTooLarge: it is too long.
        """

    @abc.abstractmethod
    def lease(self, channels: Sequence[str], timeout: float) -> Lease | None:
        """
        Take a message in hand, waiting at most ``timeout`` seconds for one.

        The messages of one lane are leased one at a time, in order. Until `set_policy` the message counts as not begun: if this
        process is killed it is put back, since nobody has run it.
        """

    @abc.abstractmethod
    def set_policy(self, lease: Lease, policy: Policy) -> None:
        """Say what becomes of the message if this process is killed; before the consumer runs."""

    @abc.abstractmethod
    def commit(self, lease: Lease, outbox: Outbox) -> Parked | None:
        """
        Acknowledge a message and send what its consumer sent, as one unit: all of it or nothing.

        Returns:
            None, or what is owed because a target is full; the lane stays busy until `push` has settled it.
        """

    @abc.abstractmethod
    def push(self, parked: Parked) -> bool:
        """
        Try again to send what is owed.

        Returns:
            True when nothing is left, since it was sent, or given up 2 seconds after its commit and counted: see
            ``parked.dropped``.
        """

    @abc.abstractmethod
    def requeue(self, lease: Lease, delay: float = 0.0) -> None:
        """
        Put a message back, to be leased again after ``delay`` seconds: to the head of its lane, without a lane to the tail.
        """

    @abc.abstractmethod
    def send_encoded(self, channel: str, payload: bytes, key: str | None = None, capacity: int | None = None) -> bool:
        """
        Send what `encode` made.

        Args:
            channel: its name, checked already.
            payload: the message.
            key: the lane it joins.
            capacity: how many messages may be under way to the channel, where that is less than it holds.

        Returns:
            False if the front whose channel it is has died, so that nobody will ever take it; counted.

        Raises:
            ChannelFull: nothing was sent.
        """

    # --- sessions of connections

    @abc.abstractmethod
    def session_load(self, reply_channel: str) -> Message | None:
        """What is kept for this reply channel; None if nothing is."""

    @abc.abstractmethod
    def session_save(self, reply_channel: str, data: Message) -> None:
        """
        Keep a dict of plain values for a reply channel, in place of what was kept before: all of it, or nothing if it fails.

        It goes when a worker is done with the channel's ``websocket.disconnect``, however it ended, with `flush` if nobody is
        connected under that name, and `session_life` after it was last saved.

        Raises:
            TypeError: something in it cannot be kept; the text names the key.
            MessageTooLarge: it is longer than MAX_SESSION_SIZE, encoded.
            ChannelFull: the layer has no memory for it.
        """

    @abc.abstractmethod
    def session_drop(self, reply_channel: str) -> None:
        """Keep nothing for this reply channel any more."""

    def session_life(self, reply_channel: str) -> float:
        """Seconds that a session is kept after it was saved: `group_expiry`, for requests 10 minutes at most."""
        return min(HTTP_SESSION_SECONDS, self.group_expiry) if reply_channel.startswith("http.") else self.group_expiry

    # --- fronts

    @abc.abstractmethod
    def open_port(self) -> Port:
        """A new port, with prefixes that nobody else has."""


def lane_key(channel: str, message: Message) -> str | None:
    """
    The lane that a message joins by itself: its connection, if it is a connection's message.

    Whether the channel was declared parallel is for the layer to know.
    """
    if channel.startswith("websocket.") and not names.is_local(channel) and "?" not in channel:
        key = message.get("reply_channel")
        if isinstance(key, str) and key:
            return key
    return None
