"""
What waits in an in-memory layer: queues, lanes, ages.

Owns the order in which messages are taken, their counts and their expiry. It never locks, waits, encodes or looks at a clock:
:class:`shmchan.layers.memory.InMemoryChannelLayer` holds its lock around every call and says what time it is. A process that
runs on that layer has one.

A queue's run list holds entries without a key, and lanes whose head is on that channel. A lane is RUNNING while one of its
messages is leased and is then on no run list, which is what keeps a connection's messages in order.
"""

import enum
import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Sequence

from shmchan.layers.base import ChannelStatistics, GroupReceivers
from shmchan.names import is_local, local_prefix


class State(enum.Enum):
    """Of an entry: QUEUED until taken (or expired), then LEASED until settled. Of a lane: QUEUED is on a run list."""

    QUEUED = "queued"
    LEASED = "leased"
    DELAYED = "delayed"
    GONE = "gone"


class Entry:
    """
    One message.

    Attributes:
        receivers: the virtual channels it goes to, where one entry is for many; else None.
        deadline: when it expires, None if it does not.
    """

    __slots__ = ("attempts", "born", "channel", "deadline", "key", "payload", "receivers", "state")

    def __init__(self, channel: str, payload: bytes, key: str | None, born: float, deadline: float | None) -> None:
        self.channel = channel
        self.payload = payload
        self.key = key
        self.born = born
        self.deadline = deadline
        self.attempts = 0
        self.receivers: GroupReceivers | None = None
        self.state = State.QUEUED

    @property
    def count(self) -> int:
        """How many messages it is for whom it is delivered to."""
        return 1 if self.receivers is None else len(self.receivers)


class Lane:
    """The messages of one connection that wait; their order is that of the deque."""

    __slots__ = ("entries", "key", "state")

    def __init__(self, key: str) -> None:
        self.key = key
        self.entries: deque[Entry] = deque()
        self.state = State.GONE


class Rate:
    """Events a second, over the last second."""

    __slots__ = ("_current", "_previous", "_second", "total")

    def __init__(self) -> None:
        self.total = 0
        self._second = 0
        self._current = 0
        self._previous = 0

    def add(self, count: int, now: float) -> None:
        """Count some events."""
        self._turn(now)
        self.total += count
        self._current += count

    def per_second(self, now: float) -> float:
        """How many there were in the last second, the older part of it estimated from the whole second it lies in."""
        self._turn(now)
        return self._current + self._previous * (1.0 - (now - self._second))

    def _turn(self, now: float) -> None:
        second = int(now)
        if second != self._second:
            self._previous = self._current if second == self._second + 1 else 0
            self._current = 0
            self._second = second


class Queue:
    """
    One channel, or all virtual channels of one prefix.

    Attributes:
        ready: the run list, oldest first.
        pending: messages that wait, those in lanes and those delayed among them.
        held: for a process-local queue, messages by virtual channel that wait or were not credited yet.
    """

    __slots__ = ("full", "held", "name", "pending", "ready", "sent")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: OrderedDict[Entry | Lane, None] = OrderedDict()
        self.pending = 0
        self.held: dict[str, int] = {}
        self.sent = Rate()
        self.full = Rate()

    def hold(self, channel: str) -> None:
        """Count one more message against a virtual channel."""
        self.held[channel] = self.held.get(channel, 0) + 1

    def release(self, channel: str, count: int = 1) -> None:
        """Count fewer messages against a virtual channel."""
        left = self.held.get(channel, 0) - count
        if left > 0:
            self.held[channel] = left
        else:
            self.held.pop(channel, None)


class Backlog:
    """
    Everything that waits in one layer.

    Attributes:
        used: bytes of payloads that wait or are leased.
        expired: messages that nobody took in time.
    """

    def __init__(self) -> None:
        self.used = 0
        self.expired = 0
        self.sent = Rate()
        self.full = Rate()
        self._queues: dict[str, Queue] = {}
        self._lanes: dict[str, Lane] = {}
        self._ages: OrderedDict[Entry, None] = OrderedDict()
        self._ageless: OrderedDict[Entry, None] = OrderedDict()
        self._delayed: list[tuple[float, int, Entry | Lane]] = []
        self._serial = itertools.count()
        self._turn = 0

    def queue(self, channel: str) -> Queue:
        """The queue that a channel's messages wait in."""
        name = local_prefix(channel)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = Queue(name)
        return queue

    def put(self, entry: Entry, now: float) -> None:
        """Add a message at the tail: of its lane if it has a key, else of its queue. Whether there is room was asked before."""
        queue = self.queue(entry.channel)
        count = entry.count
        queue.sent.add(count, now)
        self.sent.add(count, now)
        self.used += len(entry.payload)
        self._enter(entry, queue)
        if entry.key is None:
            queue.ready[entry] = None
            return
        lane = self._lanes.get(entry.key)
        if lane is None:
            lane = self._lanes[entry.key] = Lane(entry.key)
        lane.entries.append(entry)
        if lane.state is State.GONE:
            self._make_ready(lane)

    def take(self, channels: Sequence[str], now: float) -> Entry | None:
        """
        The oldest entry of the first queue that has one; whose turn is first goes round, so that a busy one starves nobody.

        Args:
            channels: names of queues (``prefix!``, not ``prefix!x``).
        """
        self.settle_time(now)
        total = len(channels)
        for step in range(self._turn, self._turn + total):
            queue = self._queues.get(channels[step % total])
            if queue is not None and queue.ready:
                self._turn = step % total + 1
                thing, _ = queue.ready.popitem(last=False)
                if isinstance(thing, Lane):
                    entry = thing.entries.popleft()
                    thing.state = State.LEASED
                else:
                    entry = thing
                self._leave(entry, queue)
                entry.state = State.LEASED
                return entry
        return None

    def finish(self, entry: Entry) -> None:
        """Settle a taken entry: its lane goes on."""
        entry.state = State.GONE
        self.used -= len(entry.payload)
        if entry.key is not None:
            self._let_go(entry.key)
        queue = self.queue(entry.channel)
        if "?" in queue.name and not queue.pending:
            del self._queues[queue.name]  # these names are made up by the thousand, and used once

    def put_back(self, entry: Entry, due: float, now: float) -> None:
        """Undo a `take`: to the head of its lane, else to the tail of its queue, out of sight until ``due``."""
        entry.attempts += 1
        entry.state = State.QUEUED
        self._enter(entry, self.queue(entry.channel))
        lane = self._lanes.get(entry.key) if entry.key is not None else None
        if lane is None:
            if due > now:
                self._delay(entry, due)
            else:
                self.queue(entry.channel).ready[entry] = None
            return
        lane.entries.appendleft(entry)
        if due > now:
            lane.state = State.DELAYED
            self._delay(lane, due)
        else:
            self._make_ready(lane)

    def settle_time(self, now: float) -> None:
        """Bring back what is due and drop what has expired."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, thing = heapq.heappop(self._delayed)
            if isinstance(thing, Entry):
                if thing.state is State.QUEUED:
                    self.queue(thing.channel).ready[thing] = None
            elif thing.state is State.DELAYED:
                self._make_ready(thing)
        while self._ages:
            entry = next(iter(self._ages))
            if entry.deadline is None or entry.deadline > now:
                break
            self.expired += entry.count
            self._remove(entry)

    def has_lane(self, key: str) -> bool:
        """Whether a message with this key waits, or is taken and not settled."""
        return key in self._lanes

    def next_due(self) -> float | None:
        """When something that is out of sight comes back."""
        return self._delayed[0][0] if self._delayed else None

    def drop_queue(self, name: str) -> int:
        """Drop a queue and all that waits in it; how many messages these were. It must be process-local."""
        queue = self._queues.pop(name, None)
        if queue is None:
            return 0
        for thing in queue.ready:
            if isinstance(thing, Entry):
                self._forget(thing)
        return queue.pending

    def clear(self) -> None:
        """Drop all that waits. What is taken stays taken, and its lane busy."""
        for entry in [*self._ages, *self._ageless]:
            self._remove(entry)

    def statistics(self, channel: str | None, now: float) -> ChannelStatistics:
        """Counts of one channel, or of everything (None)."""
        self.settle_time(now)
        name = None if channel is None else local_prefix(channel)
        queue = None if name is None else self._queues.get(name, Queue(name))
        waiting = [entry for entry in (*self._ages, *self._ageless) if _concerns(entry, channel)]
        sent, full = (self.sent, self.full) if queue is None else (queue.sent, queue.full)
        virtual = channel is not None and is_local(channel) and channel != name
        return {
            "messages_count": sent.total,
            "messages_count_per_second": sent.per_second(now),
            "messages_pending": len(waiting) if virtual else sum(entry.count for entry in waiting),
            "messages_max_age": max((now - entry.born for entry in waiting), default=0.0),
            "channel_full_count": full.total,
            "channel_full_count_per_second": full.per_second(now),
        }

    # --- steps

    def _enter(self, entry: Entry, queue: Queue) -> None:
        queue.pending += entry.count
        (self._ageless if entry.deadline is None else self._ages)[entry] = None
        if entry.receivers is not None:
            for channel in entry.receivers:
                queue.hold(channel)
        elif is_local(entry.channel):
            queue.hold(entry.channel)

    def _leave(self, entry: Entry, queue: Queue) -> None:
        queue.pending -= entry.count
        (self._ageless if entry.deadline is None else self._ages).pop(entry)

    def _remove(self, entry: Entry) -> None:
        """Take out what is queued, wherever it is."""
        queue = self.queue(entry.channel)
        lane = self._lanes.get(entry.key) if entry.key is not None else None
        if lane is None:
            queue.ready.pop(entry, None)
        else:
            was_head = lane.entries[0] is entry
            lane.entries.remove(entry)
            if was_head and lane.state is State.QUEUED:
                queue.ready.pop(lane)
                self._make_ready(lane)
            elif lane.state is State.DELAYED and not lane.entries:
                self._make_ready(lane)
        self._leave(entry, queue)
        for channel in entry.receivers or ([entry.channel] if is_local(entry.channel) else []):
            queue.release(channel)
        self.used -= len(entry.payload)
        entry.state = State.GONE
        if "?" in queue.name and not queue.pending:
            del self._queues[queue.name]

    def _forget(self, entry: Entry) -> None:
        (self._ageless if entry.deadline is None else self._ages).pop(entry)
        self.used -= len(entry.payload)
        entry.state = State.GONE

    def _make_ready(self, lane: Lane) -> None:
        if lane.entries:
            lane.state = State.QUEUED
            self.queue(lane.entries[0].channel).ready[lane] = None
        else:
            lane.state = State.GONE
            del self._lanes[lane.key]

    def _let_go(self, key: str) -> None:
        lane = self._lanes.get(key)
        if lane is not None and lane.state is State.LEASED:
            self._make_ready(lane)

    def _delay(self, thing: Entry | Lane, due: float) -> None:
        heapq.heappush(self._delayed, (due, next(self._serial), thing))


def _concerns(entry: Entry, channel: str | None) -> bool:
    if channel is None or entry.channel == channel:
        return True
    if channel.endswith("!"):
        return local_prefix(entry.channel) == channel
    return entry.receivers is not None and channel in entry.receivers
