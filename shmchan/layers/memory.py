"""
The channel layer within one process: for tests, and for ``run --debug``, where front and worker are threads.

Owns one backlog, the groups and the ports, all under one lock. It never touches shared memory or a file, and what it holds ends
with the process. Messages are encoded and decoded as everywhere, so that nobody shares an object through it by accident.
"""

import asyncio
import functools
import logging
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shmchan import names
from shmchan.exceptions import ChannelFull, LayerClosed
from shmchan.layers import wire
from shmchan.layers.backlog import Backlog, Entry, State
from shmchan.layers.base import (
    MAX_SESSION_SIZE,
    NEVER_EXPIRING,
    OWED_SECONDS,
    POLICIES,
    BaseChannelLayer,
    ChannelStatistics,
    GlobalStatistics,
    GroupReceivers,
    Item,
    Lease,
    Message,
    Outbox,
    Parked,
    Policy,
    lane_key,
)
from shmchan.layers.capacity import DEFAULT_CAPACITY, Capacities
from shmchan.layers.histories import Histories
from shmchan.layers.memories import Kept, Presence, UserId
from shmchan.layers.memory_port import MemoryPort
from shmchan.layers.presences import Presences

MEMORY = 256 << 20
log = logging.getLogger("shmchan.layer")


class _Owed:
    """What is left of an outbox. ``admitted``: the memory for all of it was there once."""

    __slots__ = ("admitted", "deadline", "entry", "items")

    def __init__(self, entry: Entry, items: list[Item], deadline: float) -> None:
        self.entry = entry
        self.items = items
        self.deadline = deadline
        self.admitted = False


class InMemoryChannelLayer(BaseChannelLayer):
    """
    A channel layer that any thread of this process may use. Each object is a layer of its own, whatever its name.

    Args:
        name: what it calls itself in errors.
        expiry: seconds after which an unread message is dropped.
        group_expiry: seconds after which a membership ends.
        capacity: messages in a channel.
        channel_capacity: globs or compiled regular expressions, each with a number; the first that matches wins.
        memory: bytes of messages that may wait.
        max_message_size: bytes of one message.

    Attributes:
        dropped: messages that were given up, by cause: ``group_full``, ``outbox_full``, ``outbox_memory``, ``port_closed``.
    """

    def __init__(
        self,
        name: str = "default",
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = DEFAULT_CAPACITY,
        channel_capacity: Mapping[Any, int] | None = None,
        memory: int | None = None,
        max_message_size: int | None = None,
    ) -> None:
        self.name = name
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self.memory = MEMORY if memory is None else memory
        self.max_message_size = min(wire.LONGEST if max_message_size is None else max_message_size, self.memory)
        self.dropped: Counter[str] = Counter()
        self.router = None
        self._capacities = Capacities(capacity, channel_capacity)
        self._lock = threading.Condition(threading.RLock())
        self._waiting = 0
        self._wakers: set[Callable[[], object]] = set()
        self._backlog = Backlog()
        self._groups: dict[str, dict[str, float]] = {}
        self._sessions: dict[str, tuple[bytes, float]] = {}
        self._epoch = secrets.token_hex(8)
        self._histories = Histories(self.memory)
        self._presences = Presences()
        self._parallel: set[str] = set()
        self._heard: set[str] = set()
        self._last_heard: object = None
        self._ports: dict[str, MemoryPort] = {}
        self._closed_prefixes: set[str] = set()
        self._closed = False

    # --- applications

    def send(self, channel: str, message: Message) -> None:
        channel = names.check_channel(channel)
        payload = self.encode(message)
        self.send_encoded(channel, payload, lane_key(channel, message))

    def receive(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, Message] | tuple[None, None]:
        checked = names.check_receivables(channels)
        with self._lock:
            entry = self._wait_for(checked, timeout) if block else self._take(checked)
            if entry is None:
                return None, None
            if names.is_local(entry.channel):
                self._backlog.queue(entry.channel).release(entry.channel)
            self._backlog.finish(entry)
            self._announce()
        return entry.channel, wire.decode(entry.payload)

    async def receive_async(self, channels: Sequence[str]) -> tuple[str, Message]:
        ready = asyncio.Event()
        ring = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, ready.set)
        self.add_waker(ring)
        try:
            while True:
                ready.clear()
                channel, message = self.receive(channels)
                if channel is not None and message is not None:
                    return channel, message
                with self._lock:
                    due = self._backlog.next_due()
                if due is None:
                    await ready.wait()
                else:
                    await _wait_at_most(ready, due - time.monotonic())
        finally:
            self.discard_waker(ring)

    def new_channel(self, pattern: str) -> str:
        return names.check_pattern(pattern) + secrets.token_hex(10)

    def group_add(self, group: str, channel: str, user: UserId | None = None) -> None:
        group, channel = names.check_group(group), names.check_channel(channel)
        self._encode_user(user)
        with self._lock:
            self._check_open()
            if names.local_prefix(channel) in self._closed_prefixes:
                return  # its front has gone, and left all groups
            self._groups.setdefault(group, {})[channel] = time.monotonic() + self.group_expiry
            if user is not None:
                self._presences.enter(group, channel, user)
        self.tell_presence()

    def group_discard(self, group: str, channel: str) -> None:
        group, channel = names.check_group(group), names.check_channel(channel)
        with self._lock:
            self._check_open()
            members = self._groups.get(group)
            if members is not None:
                members.pop(channel, None)
                self._presences.exit(group, channel)
                if not members:
                    del self._groups[group]
        self.tell_presence()

    def group_users(self, group: str) -> dict[UserId, float]:
        with self._lock:
            self._check_open()
            self._members(names.check_group(group))  # whose time is over has left
            return self._presences.users(group)

    def _take_presence(self) -> Presence | None:
        with self._lock:
            return self._presences.take()

    def _presence_told(self, presence: Presence) -> None:
        with self._lock:
            self._presences.told(presence)

    def group_channels(self, group: str) -> list[str]:
        with self._lock:
            self._check_open()
            return self._members(names.check_group(group))

    def send_group(self, group: str, message: Message, history: int = 0) -> None:
        group = names.check_group(group)
        payload = self.encode_kept(group, message, history) if history else self.encode(message)
        with self._lock:
            self._check_open()
            self._deliver_to_group(group, payload)

    @property
    def epoch(self) -> str:
        with self._lock:
            self._check_open()
            return self._epoch

    def _read_history(self, group: str, after: int) -> tuple[int, int, list[bytes]]:
        with self._lock:
            self._check_open()
            return self._histories.read(group, after)

    def flush(self) -> None:
        with self._lock:
            self._check_open()
            self._backlog.clear()
            self._histories.clear()
            self._groups.clear()
            self._presences.clear()
            connected = {name for port in self._ports.values() for name in port.connected()}
            self._sessions = {name: kept for name, kept in self._sessions.items() if name in connected}

    def global_statistics(self) -> GlobalStatistics:
        with self._lock:
            self._check_open()
            counts = self._backlog.statistics(None, time.monotonic())
            kept = sum(len(payload) for payload, _ in self._sessions.values())
            return {**counts, "memory_total": self.memory, "memory_used": self._backlog.used + kept + self._histories.used}

    def channel_statistics(self, channel: str) -> ChannelStatistics:
        channel = names.check_channel(channel)
        with self._lock:
            self._check_open()
            return self._backlog.statistics(channel, time.monotonic())

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._backlog = Backlog()
            self._groups.clear()
            self._histories.clear()
            self._sessions.clear()
            self._announce()

    # --- workers

    def declare_parallel(self, channel: str) -> None:
        with self._lock:
            self._parallel.add(names.check_channel(channel))

    def encode(self, message: Message) -> bytes:
        try:
            return wire.encode(message, self.max_message_size)
        except self.MessageTooLarge as error:
            raise wire.too_large(error.size, self.max_message_size, self.memory) from None

    def lease(self, channels: Sequence[str], timeout: float) -> Lease | None:
        self.tell_presence()
        with self._lock:
            if channels is not self._last_heard:
                self._heard.update(names.check_receivables(channels))
                self._last_heard = channels
            entry = self._wait_for(channels, timeout)
        if entry is None:
            return None
        return Lease(entry.channel, wire.decode(entry.payload), entry.attempts, entry)

    def set_policy(self, lease: Lease, policy: Policy) -> None:
        # Whoever could apply it dies together with this layer.
        if policy not in POLICIES:
            raise ValueError(f"a crash policy is one of {', '.join(POLICIES)}, not {policy!r}")

    def commit(self, lease: Lease, outbox: Outbox) -> Parked | None:
        with self._lock:
            self._check_open()
            owed = _Owed(_held(lease), list(outbox.items), time.monotonic() + OWED_SECONDS)
            owed.entry.state = State.GONE  # from here on it is the outbox that is settled, not the lease
            parked = Parked(owed)
            return None if self._settle(parked) else parked

    def push(self, parked: Parked) -> bool:
        with self._lock:
            self._check_open()
            return self._settle(parked)

    def requeue(self, lease: Lease, delay: float = 0.0) -> None:
        with self._lock:
            self._check_open()
            entry = _held(lease)
            now = time.monotonic()
            if entry.deadline is not None:
                entry.deadline = now + delay + self.expiry
            self._backlog.put_back(entry, now + delay, now)
            self._announce()

    def send_encoded(self, channel: str, payload: bytes, key: str | None = None, capacity: int | None = None) -> bool:
        with self._lock:
            self._check_open()
            if not self._has_memory(len(payload)):
                raise ChannelFull(channel)
            refusal = self._put(channel, payload, None if channel in self._parallel else key, capacity=capacity)
            if refusal is not None:
                raise refusal
            return names.local_prefix(channel) not in self._closed_prefixes

    # --- sessions of connections

    def session_load(self, reply_channel: str) -> Message | None:
        with self._lock:
            self._check_open()
            payload, until = self._sessions.get(reply_channel, (b"", 0.0))
        return wire.decode(payload) if until > time.monotonic() else None

    def session_save(self, reply_channel: str, data: Message) -> None:
        names.check_channel(reply_channel)
        payload = wire.encode_session(data, MAX_SESSION_SIZE)
        now = time.monotonic()
        with self._lock:
            self._check_open()
            for name in [name for name, (_, until) in self._sessions.items() if until <= now]:
                del self._sessions[name]
            if not self._has_memory(len(payload)):
                raise ChannelFull(reply_channel)
            self._sessions[reply_channel] = payload, now + self.session_life(reply_channel)

    def session_drop(self, reply_channel: str) -> None:
        with self._lock:
            self._check_open()
            self._sessions.pop(reply_channel, None)

    # --- fronts, and whoever else waits in a loop of its own

    def add_waker(self, ring: Callable[[], object]) -> None:
        """Have this called, from whatever thread sends, with every message; it must not call the layer."""
        with self._lock:
            self._wakers.add(ring)

    def discard_waker(self, ring: Callable[[], object]) -> None:
        """Have it called no more."""
        with self._lock:
            self._wakers.discard(ring)

    def open_port(self) -> MemoryPort:
        with self._lock:
            self._check_open()
            port = MemoryPort(self, secrets.token_hex(5))
            self._ports[port.http_prefix] = self._ports[port.websocket_prefix] = port
            return port

    # --- steps, all under the lock

    def _check_open(self) -> None:
        if self._closed:
            raise LayerClosed(self.name)

    def _take(self, channels: Sequence[str]) -> Entry | None:
        self._check_open()
        return self._backlog.take(channels, time.monotonic())

    def _wait_for(self, channels: Sequence[str], timeout: float | None) -> Entry | None:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            entry = self._take(channels)
            if entry is not None:
                return entry
            now = time.monotonic()
            if end is not None and now >= end:
                return None
            due = self._backlog.next_due()
            until = end if due is None else due if end is None else min(end, due)
            self._waiting += 1
            try:
                self._lock.wait(None if until is None else max(0.0, until - now))
            finally:
                self._waiting -= 1

    def _announce(self) -> None:
        if self._waiting:
            self._lock.notify_all()
        for ring in [*self._wakers]:
            try:
                ring()
            except RuntimeError:  # its loop was closed under it
                self._wakers.discard(ring)

    def _has_memory(self, size: int) -> bool:
        if self._backlog.used + size > self.memory:
            self._backlog.settle_time(time.monotonic())
        return self._backlog.used + size <= self.memory

    def _refusal(self, channel: str, now: float, capacity: int | None = None) -> ChannelFull | None:
        """Why there is no room for one more, None if there is."""
        for last in (False, True):
            queue = self._backlog.queue(channel)
            if not names.is_local(channel):
                limit = min(self._capacities.of(channel), capacity or sys.maxsize)
                full = queue.pending >= limit
            else:
                limit = min(self._capacities.default, capacity or sys.maxsize)
                full = queue.held.get(channel, 0) >= limit
                if not full:
                    limit = self._capacities.of(queue.name)
                    full = queue.pending >= limit
            if not full:
                return None
            if last:
                break
            self._backlog.settle_time(now)
        queue.full.add(1, now)
        self._backlog.full.add(1, now)
        return ChannelFull(channel, limit)

    def _put(
        self, channel: str, payload: bytes, key: str | None, expires: bool = True, capacity: int | None = None
    ) -> ChannelFull | None:
        """Add a message, or say why not."""
        now = time.monotonic()
        if names.local_prefix(channel) in self._closed_prefixes:
            self.dropped["port_closed"] += 1
            return None
        if expires:
            refusal = self._refusal(channel, now, capacity)
            if refusal is not None:
                return refusal
        deadline = now + self.expiry if expires and channel not in NEVER_EXPIRING else None
        self._backlog.put(Entry(channel, payload, key, now, deadline), now)
        self._ring(channel)
        return None

    def _put_for_many(self, channels: GroupReceivers, payload: bytes) -> None:
        now = time.monotonic()
        entry = Entry(channels[0], payload, None, now, now + self.expiry)
        entry.receivers = channels
        self._backlog.put(entry, now)
        self._ring(channels[0])

    def _ring(self, channel: str) -> None:
        port = self._ports.get(names.local_prefix(channel)) if self._ports else None
        if port is not None:
            port.ring()
        else:
            self._announce()

    def _members(self, group: str) -> list[str]:
        members = self._groups.get(group)
        if not members:
            return []
        now = time.monotonic()
        for channel in [channel for channel, until in members.items() if until <= now]:
            del members[channel]
            self._presences.exit(group, channel)
        if not members:
            del self._groups[group]
        return list(members)

    def _deliver_to_group(self, group: str, payload: bytes) -> None:
        now = time.monotonic()
        if isinstance(payload, Kept):
            payload = self._histories.keep(group, payload)
        together: dict[str, list[str]] = {}
        full = 0
        for channel in self._members(group):
            prefix = names.local_prefix(channel)
            refusal: ChannelFull | None
            if not self._has_memory(len(payload)):
                refusal = ChannelFull(channel)
            elif prefix in self._ports:
                refusal = self._refusal(channel, now)
                if refusal is None:
                    together.setdefault(prefix, []).append(channel)
            else:
                refusal = self._put(channel, payload, self._key_of(channel, payload))
            full += refusal is not None
        for channels in together.values():
            self._put_for_many(GroupReceivers(group, channels), payload)
        if full:
            self.dropped["group_full"] += full
            log.debug("group %s: dropped for %d full channels", group, full)

    def _key_of(self, channel: str, payload: bytes) -> str | None:
        """The key of a message that comes without one; only those that may have one are decoded for it."""
        if not channel.startswith("websocket.") or names.is_local(channel) or channel in self._parallel:
            return None
        return lane_key(channel, wire.decode(payload))

    def _settle(self, parked: Parked) -> bool:
        """Send what is owed as far as there is room; True when nothing is left, and the message is acknowledged."""
        owed: _Owed = parked.token
        late = time.monotonic() >= owed.deadline
        if not owed.admitted:
            owed.admitted = self._has_memory(sum(len(payload) for _, _, payload in owed.items))
            if not owed.admitted:
                if not late:
                    return False
                self._give_up(parked, owed.items, "outbox_memory")
                owed.items = []
        for index, item in enumerate(owed.items):
            kind, name, payload = item
            if kind == "group":
                self._deliver_to_group(name, payload)
            elif self._put(name, payload, self._key_of(name, payload)) is not None:
                if not late:
                    del owed.items[:index]
                    return False
                self._give_up(parked, [item], "outbox_full")
        owed.items = []
        if self._sessions and owed.entry.channel == "websocket.disconnect":
            reply_channel = owed.entry.key or wire.decode(owed.entry.payload).get("reply_channel")
            self._sessions.pop(str(reply_channel), None)
        self._backlog.finish(owed.entry)
        self._announce()
        return True

    def _give_up(self, parked: Parked, items: list[Item], cause: str) -> None:
        self.dropped[cause] += len(items)
        for _, name, _ in items:
            parked.dropped[name] = parked.dropped.get(name, 0) + 1


def _held(lease: Lease) -> Entry:
    entry: Entry = lease.token
    if entry.state is not State.LEASED or entry.attempts != lease.attempts:
        raise ValueError(f"this lease of a message on {lease.channel!r} was committed or requeued already")
    return entry


async def _wait_at_most(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        pass
