"""
The channel layer in shared memory: Python's side of the core in ``csrc/``.

Owns what goes in: sends, groups, outboxes, ports. It never decides what happens to a message: that is done in the core, one call
each. Every process of an instance runs it.
"""

import logging
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from shmchan import names
from shmchan._core import ffi, lib
from shmchan.exceptions import ChannelFull, LayerClosed
from shmchan.layers import wire
from shmchan.layers.attachment import (
    BIG,
    BUFFER,
    EMPTY,
    FULL,
    GONE,
    NO_MEMORY,
    OK,
    PARKED,
    SECOND,
    TOO_LARGE,
    NotEnoughMemory,
    encode_plain,
)
from shmchan.layers.base import MAX_SESSION_SIZE, OWED_SECONDS, POLICIES, Lease, Message, Outbox, Parked, Policy, lane_key
from shmchan.layers.memories import Kept, Presence, UserId
from shmchan.layers.receiving import FOREVER, POLICY_NUMBERS, Receiving, unpacked
from shmchan.layers.shm_port import ShmPort
from shmchan.layers.shm_statistics import Care

__all__ = ["NotEnoughMemory", "ShmChannelLayer"]
log = logging.getLogger("shmchan.layer")


class ShmChannelLayer(Receiving, Care):
    """
    A channel layer that every process of this user may attach to by its name.

    The first that comes creates the segment, the last that leaves removes it, one that is killed changes nothing. Options that
    are not given are the segment's; one that is given and differs from a live segment's is a ValueError.

    Args:
        name: the instance.
        expiry: seconds after which an unread message is dropped (60).
        group_expiry: seconds after which a membership ends that nobody renewed (86400).
        capacity: messages in a channel (100).
        channel_capacity: globs or compiled regular expressions, each with a number; the first that matches wins.
        memory: bytes of the whole segment (256 MiB).
        max_message_size: bytes of one message, encoded (16 MiB, or an eighth of a small memory).

    Raises:
        NotEnoughMemory: the memory is too small for the other options.
        SegmentVersion, SegmentCorrupt: there is a segment of this name that cannot be used.
        ValueError: an option makes no sense, or is not the live segment's.
        OSError: the file of the segment cannot be made or mapped.
    """

    # --- applications

    def _send_slowly(self, channel: str, message: Message) -> None:
        """Send on a channel that knows order, or whose name comes for the first time, or what is not plain."""
        self._send(channel, self.target(channel), self.encode(message, channel), lane_key(channel, message))

    def _send_refused(self, channel: str, message: Message, status: int) -> None:
        self._refuse(status, channel, self.target(channel), len(encode_plain(message)) if status == TOO_LARGE else 0)

    def send_encoded(self, channel: str, payload: bytes, key: str | None = None, capacity: int | None = None) -> bool:
        target = self.target(channel)
        if capacity is not None and capacity < target.capacity:
            target = ffi.new("shmc_target *", target[0])
            target.capacity = capacity
        return self._send(channel, target, payload, key)

    def _send(self, channel: str, target: Any, payload: bytes, key: str | None, order: int = 0) -> bool:
        if key is None:
            status = lib.shmc_send(self._handle, target, payload, len(payload), 0, ffi.NULL, 0, 0)
        else:
            address = key.encode()
            lane = 0 if channel in self._parallel else lib.shmc_hash(self._handle, address, len(address))
            status = lib.shmc_send(self._handle, target, payload, len(payload), lane, address, min(len(address), 100), order)
        if status != OK:
            self._refuse(status, channel, target, len(payload))
        return bool(status == OK)

    def _refuse(self, status: int, channel: str, target: Any, size: int) -> None:
        if status == FULL:
            raise ChannelFull(channel, target.capacity)
        if status == NO_MEMORY:
            raise ChannelFull(channel)
        if status == TOO_LARGE:
            raise wire.too_large(size, self.max_message_size, self.memory)
        if status != GONE:  # whose reader is dead gets nothing any more; counted
            self.fail(status)

    def new_channel(self, pattern: str) -> str:
        if self._handle == ffi.NULL:
            raise LayerClosed(self.name)
        return names.check_pattern(pattern) + secrets.token_hex(10)

    def group_add(self, group: str, channel: str, user: UserId | None = None) -> None:
        name, member = names.check_group(group).encode(), names.check_channel(channel).encode()
        target = self.target(channel)
        who = self._encode_user(user)
        status = lib.shmc_group_enter(
            self._handle, name, len(name), member, len(member), target.capacity, target.total, who, len(who)
        )
        if status == NO_MEMORY:
            raise ChannelFull(group)
        if status != OK:
            self.fail(status)
        self._tell_what_is_owed()

    def group_discard(self, group: str, channel: str) -> None:
        name, member = names.check_group(group).encode(), names.check_channel(channel).encode()
        status = lib.shmc_group_discard(self._handle, name, len(name), member, len(member))
        if status != OK:
            self.fail(status)
        self._tell_what_is_owed()

    def group_channels(self, group: str) -> list[str]:
        return unpacked("", self.packed_members(names.check_group(group), "", FOREVER))

    def packed_members(self, group: str, prefix: str, sequence: int) -> bytes:
        """The members behind a prefix ("": all) that joined not after ``sequence``, as `unpacked` reads them."""
        name, start = group.encode(), prefix.encode()
        needed, count = ffi.new("uint64_t *"), ffi.new("uint32_t *")
        size = BUFFER
        while True:
            buffer = ffi.new("char[]", size)
            status = lib.shmc_group_members(
                self._handle, name, len(name), start, len(start), sequence, buffer, size, needed, count
            )
            if status != BIG:
                break
            size = needed[0] + BUFFER
        if status != OK:
            self.fail(status)
        return bytes(ffi.buffer(buffer, needed[0]))

    def send_group(self, group: str, message: Message, history: int = 0) -> None:
        names.check_group(group)
        payload = self.encode_kept(group, message, history) if history else self.encode(message)
        outbox = self._open_outbox(0)
        status = self._add_group(outbox, group, payload)
        if status != OK:
            lib.shmc_outbox_drop(self._handle, outbox)
            if status == NO_MEMORY:
                log.warning("group %s: dropped, no memory is left for it", group)
                self._count_memory(group)
                return
            self._refuse(status, group, None, len(payload))
        status = lib.shmc_outbox_commit(self._handle, outbox, 0)
        if status != OK:
            self.fail(status)

    def _add_group(self, outbox: int, group: str, payload: bytes) -> int:
        name, handle = group.encode(), self._handle
        if isinstance(payload, Kept):
            return int(lib.shmc_outbox_add_kept(handle, outbox, name, len(name), payload, len(payload), payload.keep))
        return int(lib.shmc_outbox_add_group(handle, outbox, name, len(name), payload, len(payload)))

    @property
    def epoch(self) -> str:
        if self._handle == ffi.NULL:
            raise LayerClosed(self.name)
        return f"{lib.shmc_epoch(self._handle):016x}"

    def _read_history(self, group: str, after: int) -> tuple[int, int, list[bytes]]:
        name, size = group.encode(), BUFFER + lib.SHMC_HISTORY_MAX
        buffer = ffi.new("char[]", size)
        used, first, last = ffi.new("uint64_t *"), ffi.new("uint64_t *"), ffi.new("uint64_t *")
        found: list[bytes] = []
        beginning, end, at = 0, 0, after
        while True:
            status = lib.shmc_history_read(self._handle, name, len(name), at, buffer, size, used, first, last)
            if status != OK:
                self.fail(status)
            if first[0] > at + 1 and found:  # it forgot what comes next while it was read
                found.clear()
            if not found:
                beginning = first[0]
            end = end or last[0]
            at = max(at, first[0] - 1)
            data = ffi.buffer(buffer, used[0])[:]
            where = 0
            while where < len(data):
                length = int.from_bytes(data[where : where + 4], sys.byteorder)
                found.append(data[where + 4 : where + 4 + length])
                where += 4 + length
                at += 1
            if not data or at >= end:
                return beginning, at if found else end, found

    # --- who is in a group

    def group_users(self, group: str) -> dict[UserId, float]:
        name = names.check_group(group).encode()
        if self._handle == ffi.NULL:
            raise LayerClosed(self.name)
        buffer, used, cursor = ffi.new("char[]", BUFFER), ffi.new("uint64_t *"), ffi.new("uint32_t *")
        found: dict[UserId, float] = {}
        while True:
            status = lib.shmc_presence_list(self._handle, name, len(name), cursor, buffer, BUFFER, used)
            if status != OK:
                self.fail(status)
            data = ffi.buffer(buffer, used[0])[:]
            at = 0
            while at < len(data):
                end = at + 9 + data[at + 8]
                found[wire.decode_any(data[at + 9 : end])] = int.from_bytes(data[at : at + 8], sys.byteorder) / SECOND
                at = end
            if not cursor[0]:
                return found

    def _tell_what_is_owed(self) -> None:
        if lib.shmc_presence_owed(self._handle):
            self.tell_presence()

    def _take_presence(self) -> Presence | None:
        what = ffi.new("shmc_presence *")
        status = lib.shmc_presence_take(self._handle, what)
        if status == EMPTY:
            return None
        if status != OK:
            self.fail(status)
        user = wire.decode_any(bytes(ffi.buffer(what.user, what.user_length)))
        group = ffi.string(what.group, what.group_length).decode()
        return Presence(group, user, bool(what.present), what.joined_ns / SECOND, what)

    def _presence_told(self, presence: Presence) -> None:
        status = lib.shmc_presence_told(self._handle, presence.token)
        if status != OK:
            self.fail(status)

    def lease(self, channels: Sequence[str], timeout: float) -> Lease | None:
        self._tell_what_is_owed()  # front and reaper note who has gone; a worker says it
        return super().lease(channels, timeout)

    def _count_memory(self, group: str) -> None:
        target = ffi.new("shmc_target *")
        self.fill_target(target, group)
        lib.shmc_count_drop(self._handle, target, lib.SHMC_CAUSE_MEMORY, 1)

    # --- workers

    def declare_parallel(self, channel: str) -> None:
        self._parallel.add(names.check_channel(channel))

    def encode(self, message: Message, channel: str | None = None) -> bytes:
        try:
            return wire.encode(message, self.max_message_size)
        except self.MessageTooLarge as error:
            if channel is not None and self._handle != ffi.NULL:
                lib.shmc_count_drop(self._handle, self.target(channel), lib.SHMC_CAUSE_TOO_LARGE, 1)
            raise wire.too_large(error.size, self.max_message_size, self.memory) from None

    def set_policy(self, lease: Lease, policy: Policy) -> None:
        if policy not in POLICIES:
            raise ValueError(f"a crash policy is one of {', '.join(POLICIES)}, not {policy!r}")
        lib.shmc_set_policy(self._handle, lease.token, POLICY_NUMBERS[policy])

    def commit(self, lease: Lease, outbox: Outbox) -> Parked | None:
        if not outbox.items:
            status = lib.shmc_acknowledge(self._handle, lease.token)
            if status != OK:
                self._unsettled(status, lease)
            return None
        reference = self._prepared(lease, outbox)
        if reference is None:
            return None
        status = lib.shmc_outbox_commit(self._handle, reference, int(OWED_SECONDS * SECOND))
        if status == PARKED:
            return Parked((reference, self._given_up(outbox)))
        if status != OK:
            self._unsettled(status, lease)
        return None

    def _unsettled(self, status: int, lease: Lease) -> None:
        if status == GONE:
            raise ValueError(f"this message of {lease.channel!r} was committed or requeued already; a lease is settled once")
        self.fail(status)

    def _open_outbox(self, lease: int) -> int:
        out = ffi.new("uint64_t *")
        for _ in range(200):
            status = lib.shmc_outbox_open(self._handle, lease, out)
            if status != NO_MEMORY:
                break
            time.sleep(0.01)
        if status != OK:
            self.fail(status)
        return int(out[0])

    def _prepared(self, lease: Lease, outbox: Outbox) -> int | None:
        """An open outbox with every item; None when there was no memory for it within 2 s: dropped whole, logged, counted."""
        deadline = time.monotonic() + OWED_SECONDS
        while True:
            reference = self._open_outbox(lease.token)
            status = self._fill(reference, outbox)
            if status == OK:
                return reference
            lib.shmc_outbox_drop(self._handle, reference)
            if status != NO_MEMORY:
                self.fail(status)
            if time.monotonic() > deadline:
                break
            time.sleep(0.005 + secrets.randbelow(20) / 1000)
        log.error("no memory for the %d messages that a consumer of %s sent; dropped", len(outbox.items), lease.channel)
        for kind, name, _ in outbox.items:
            if kind == "channel":
                lib.shmc_count_drop(self._handle, self.target(name), lib.SHMC_CAUSE_MEMORY, 1)
            else:
                self._count_memory(name)
        lib.shmc_acknowledge(self._handle, lease.token)
        return None

    def _fill(self, reference: int, outbox: Outbox) -> int:
        handle = self._handle
        status: int = OK
        for kind, name, payload in outbox.items:
            if kind == "group":
                status = self._add_group(reference, name, payload)
            elif name.startswith("websocket.") and "!" not in name:
                key = lane_key(name, wire.decode(payload))
                address = (key or "").encode()
                lane = lib.shmc_hash(handle, address, len(address)) if key and name not in self._parallel else 0
                status = lib.shmc_outbox_add(
                    handle, reference, self.target(name), payload, len(payload), lane, address, min(len(address), 100)
                )
            else:
                status = lib.shmc_outbox_add(handle, reference, self.target(name), payload, len(payload), 0, ffi.NULL, 0)
            if status != OK:
                break
        return status

    def _given_up(self, outbox: Outbox) -> Callable[[], dict[str, int]]:
        """How many messages each target of an outbox has lost to being full since now."""
        targets = {name for kind, name, _ in outbox.items if kind == "channel"}
        before = {name: self.channel_statistics(name)["channel_full_count"] for name in targets}

        def since() -> dict[str, int]:
            now = {name: self.channel_statistics(name)["channel_full_count"] for name in targets}
            return {name: now[name] - count for name, count in before.items() if now[name] > count}

        return since

    def push(self, parked: Parked) -> bool:
        reference, given_up = parked.token
        name, length = ffi.new("char[]", 104), ffi.new("uint32_t *")
        status = lib.shmc_outbox_push(self._handle, reference, name, length)
        if status == PARKED:
            return False
        if status not in (OK, GONE):
            self.fail(status)
        parked.dropped.update(given_up())
        return True

    def requeue(self, lease: Lease, delay: float = 0.0) -> None:
        status = lib.shmc_requeue(self._handle, lease.token, int(delay * SECOND))
        if status != OK:
            self._unsettled(status, lease)

    # --- sessions of connections

    def session_load(self, reply_channel: str) -> Message | None:
        key, length, size = self._session_key(reply_channel), ffi.new("uint64_t *"), BUFFER
        while True:
            buffer = ffi.new("char[]", size)
            status = lib.shmc_session_load(self._handle, key, buffer, size, length)
            if status != BIG:  # else it is longer, or was replaced meanwhile by one that is
                break
            size = length[0]
        if status == EMPTY:
            return None
        if status != OK:
            self.fail(status)
        return wire.decode(bytes(ffi.buffer(buffer, length[0])))

    def session_save(self, reply_channel: str, data: Message) -> None:
        payload = wire.encode_session(data, MAX_SESSION_SIZE)
        key = self._session_key(names.check_channel(reply_channel))
        life = int(self.session_life(reply_channel) * SECOND)
        status = lib.shmc_session_save(self._handle, key, payload, len(payload), life)
        if status == NO_MEMORY:
            raise ChannelFull(reply_channel)
        if status != OK:
            self.fail(status)

    def session_drop(self, reply_channel: str) -> None:
        status = lib.shmc_session_drop(self._handle, self._session_key(reply_channel))
        if status not in (OK, GONE):
            self.fail(status)

    def _session_key(self, reply_channel: str) -> int:
        if self._handle == ffi.NULL:
            raise LayerClosed(self.name)
        address = reply_channel.encode()
        return int(lib.shmc_hash(self._handle, address, len(address)))

    # --- fronts

    def open_port(self) -> ShmPort:
        port = ShmPort(self)
        self._ports.append(port)
        return port
