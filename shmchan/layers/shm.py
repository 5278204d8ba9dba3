"""
The channel layer in shared memory: Python's side of the core in ``csrc/``.

Owns this process's attachment, and turns status codes into exceptions; nobody else imports the C module. It never decides what
happens to a message: that is done in the core, one call each. Every process of an instance runs it.
"""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec

from shmchan import names
from shmchan._core import ffi, lib
from shmchan._plain import is_plain
from shmchan.exceptions import ChannelFull, InstanceRunning, LayerClosed, NoInstance, SegmentCorrupt, SegmentVersion, ShmchanError
from shmchan.layers import instance, wire
from shmchan.layers.base import (
    OWED_SECONDS,
    POLICIES,
    BaseChannelLayer,
    ChannelStatistics,
    GlobalStatistics,
    Lease,
    Message,
    Outbox,
    Parked,
    Policy,
    default_policy,
    lane_key,
)
from shmchan.layers.capacity import DEFAULT_CAPACITY, Capacities
from shmchan.layers.shm_port import ShmPort

MEMORY = 256 << 20
MAX_MESSAGE_SIZE = 16 << 20
EXPIRY = 60.0
GROUP_EXPIRY = 86400.0
CAUSES = ("full", "expired", "too_large", "gone", "crash", "flush", "memory")
BUFFER = 64 << 10
FOREVER = (1 << 64) - 1
_SECOND = 1_000_000_000
_BRIEF = (1 << 40) - 1
_REMEMBERED = 10_000
_POLICY = {"drop": 0, "notify": 1, "redeliver": 2, "dead_letter": 3}
_DOMAINS = {"!": lib.SHMC_REPLY, "?": lib.SHMC_SINGLE}
log = logging.getLogger("shmchan.layer")
encode_plain = msgspec.msgpack.Encoder().encode  # the hot paths name what they call once
put, take = lib.shmc_put, lib.shmc_take

OK, EMPTY, FULL, TOO_LARGE, INTERRUPTED, GONE = (
    lib.SHMC_OK,
    lib.SHMC_EMPTY,
    lib.SHMC_FULL,
    lib.SHMC_TOO_LARGE,
    lib.SHMC_INTERRUPTED,
    lib.SHMC_GONE,
)
NO_MEMORY, BIG, PARKED = lib.SHMC_NO_MEMORY, lib.SHMC_BIG, lib.SHMC_PARKED


class NotEnoughMemory(ShmchanError):
    """
    A segment of this size cannot hold its tables and two of its longest messages.

    Attributes:
        minimum: bytes that it takes.
    """

    def __init__(self, memory: int, minimum: int) -> None:
        self.minimum = minimum
        super().__init__(
            f"{memory} bytes of memory are too little; with these options it takes "
            f"{minimum >> 20} MiB (--memory {minimum >> 20}MiB)"
        )


class Receiver:
    """The channels that one thread receives on, resolved, and the buffer that what comes is copied to."""

    __slots__ = ("__weakref__", "batch", "buffer", "busy", "count", "interest", "names", "out", "taken", "view")

    def __init__(self, layer: "ShmChannelLayer", channels: Sequence[str], batch: int = 1) -> None:
        targets = ffi.new("shmc_target[]", len(channels))
        for index, name in enumerate(channels):
            layer.fill_target(ffi.addressof(targets, index), name)
        self.names = list(channels)
        self.batch = batch
        self.buffer = ffi.new("char[]", BUFFER)
        self.view = memoryview(ffi.buffer(self.buffer))
        self.out = ffi.new("shmc_message[]", batch)
        self.count = ffi.new("uint32_t *")
        self.interest = layer.new_interest(targets, len(channels))
        self.taken = memoryview(ffi.buffer(lib.shmc_interest_buffer(self.interest, ffi.new("uint64_t *")), BUFFER))
        self.busy = False
        layer.receivers.add(self)


class _Threads(threading.local):
    def __init__(self) -> None:
        self.receivers: dict[tuple[str, ...], Receiver] = {}


class ShmChannelLayer(BaseChannelLayer):
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
        NotEnoughMemory, SegmentVersion, SegmentCorrupt, ValueError, OSError.
    """

    def __init__(
        self,
        name: str = "default",
        expiry: float | None = None,
        group_expiry: float | None = None,
        capacity: int | None = None,
        channel_capacity: Mapping[Any, int] | None = None,
        memory: int | None = None,
        max_message_size: int | None = None,
        *,
        mode: str = "either",
    ) -> None:
        self.name = names.check_group(name)
        self.router = None
        self._handle: Any = ffi.NULL
        given = _given(expiry, group_expiry, capacity, channel_capacity, memory, max_message_size)
        self._folder = instance.base_folder()
        with instance.changing(self._folder, name):
            path = instance.segment_path(self._folder, name)
            if mode == "create" and path.exists() and lib.shmc_count_live(os.fsencode(path)) > 0:
                raise InstanceRunning(name)
            if path.exists() and mode != "create":
                self._handle = self._attached(path)
            elif mode == "attach":
                raise NoInstance(name)
            else:
                self._handle = self._created(given)
        self._adopt(given)
        self._threads = _Threads()
        self._interests: list[Any] = []
        self._lock = threading.Lock()
        self._targets: dict[str, Any] = {}
        self._plain: dict[str, Any] = {}  # those of channels that know no order
        self.receivers: weakref.WeakSet[Receiver] = weakref.WeakSet()
        self._parallel: set[str] = set()
        self._ports: list[ShmPort] = []

    @classmethod
    def attach(cls, name: str | None = None) -> Self:
        """
        Attach to a running instance.

        Args:
            name: by default ``SHMCHAN_NAME`` of the environment, else "default".

        Raises:
            NoInstance: there is none.
        """
        return cls(name if name is not None else os.environ.get("SHMCHAN_NAME") or "default", mode="attach")

    @classmethod
    def create(cls, name: str, **options: Any) -> Self:
        """
        Make a new segment, in place of one that a killed run left behind.

        Raises:
            InstanceRunning: a live process is attached to this name.
        """
        return cls(name, mode="create", **options)

    # --- coming and going

    def _created(self, given: dict[str, Any]) -> Any:
        options = ffi.new("shmc_options *")
        options.memory = memory = given.get("memory", MEMORY)
        options.max_message_size = given.get("max_message_size", min(MAX_MESSAGE_SIZE, memory >> 3))
        options.expiry_ns = int(given.get("expiry", EXPIRY) * _SECOND)
        options.group_expiry_ns = int(given.get("group_expiry", GROUP_EXPIRY) * _SECOND)
        options.capacity = given.get("capacity", DEFAULT_CAPACITY)
        blob = msgspec.msgpack.encode(given.get("channel_capacity", []))
        if len(blob) > 4000:
            raise ValueError(f"channel_capacity takes {len(blob)} bytes, at most 4000 fit; use fewer patterns")
        options.blob_length = len(blob)
        ffi.buffer(options.blob)[0 : len(blob)] = blob
        made = instance.new_folder(self._folder, self.name)
        out = ffi.new("shmc **")
        status = lib.shmc_create(os.fsencode(made / instance.SEGMENT), options, out)
        if status == NO_MEMORY:
            made.rmdir()
            raise NotEnoughMemory(memory, _least_memory(options, "max_message_size" in given))
        if status != OK:
            error = ffi.errno
            raise OSError(
                error, f"no segment of {memory} bytes can be made in {self._folder} ({os.strerror(error)}); give less --memory"
            )
        instance.publish(self._folder, self.name, made)
        lib.shmc_moved(out[0], os.fsencode(instance.segment_path(self._folder, self.name)))
        return out[0]

    def _attached(self, path: Any) -> Any:
        out, version = ffi.new("shmc **"), ffi.new("uint64_t *")
        status = lib.shmc_attach(os.fsencode(path), version, out)
        if status == OK:
            return out[0]
        if status == lib.SHMC_E_VERSION:
            raise SegmentVersion(self.name, f"its layout is {version[0]}, this is {lib.shmc_layout_version()}")
        if status == lib.SHMC_E_SLOTS:
            raise ShmchanError(f"255 processes are attached to {self.name!r}, which is all it takes; let some leave")
        if status == lib.SHMC_E_SYSTEM:
            raise OSError(ffi.errno, f"the segment {path} cannot be attached to ({os.strerror(ffi.errno)})")
        raise SegmentCorrupt(self.name, "its header failed validation")

    def _adopt(self, given: dict[str, Any]) -> None:
        """Take the segment's options, if what was given does not contradict them."""
        options = ffi.new("shmc_options *")
        lib.shmc_get_options(self._handle, options)
        blob = bytes(ffi.buffer(options.blob, options.blob_length))
        try:
            patterns = msgspec.msgpack.decode(blob, type=list[tuple[str, int, int]])
            there = {
                "expiry": options.expiry_ns / _SECOND,
                "group_expiry": options.group_expiry_ns / _SECOND,
                "capacity": int(options.capacity),
                "channel_capacity": patterns,
                "memory": int(options.memory),
                "max_message_size": int(options.max_message_size),
            }
            compiled = {re.compile(text, flags): number for text, flags, number in patterns}
        except (msgspec.DecodeError, re.error) as error:
            self._leave()
            raise SegmentCorrupt(self.name, f"its options cannot be read ({error})") from error
        wrong = {key: value for key, value in given.items() if value != there[key]}
        if wrong:
            key, value = next(iter(wrong.items()))
            self._leave()
            raise ValueError(
                f"{key}={value!r} was given, but the live segment {self.name!r} has {there[key]!r}; "
                "leave it out, or stop the instance"
            )
        self.expiry, self.group_expiry = there["expiry"], there["group_expiry"]
        self.capacity, self.memory = there["capacity"], there["memory"]
        self.max_message_size = there["max_message_size"]
        self._capacities = Capacities(self.capacity, compiled)

    def _leave(self) -> None:
        handle, self._handle = self._handle, ffi.NULL
        if handle == ffi.NULL:
            return
        alone = ffi.new("int *")
        with instance.changing(self._folder, self.name):
            if lib.shmc_detach(handle, alone) == OK and alone[0]:
                instance.remove(self._folder, self.name)

    def close(self) -> None:
        """
        Leave the layer. What this process has in hand meets its crash policy; the last one removes the segment.

        Threads that wait in a call are woken and raise LayerClosed.
        """
        with self._lock:
            if self._handle == ffi.NULL:
                return
            handle = self._handle
            interests, self._interests = self._interests, []
            ports, self._ports = self._ports, []
        if lib.shmc_statistics_read(handle, ffi.new("shmc_statistics *")) == lib.SHMC_E_FORKED:
            self._handle = ffi.NULL  # it belongs to the parent, and so do its waiters
            return
        for port in ports:
            port.close()
        self._handle = ffi.NULL
        deadline = time.monotonic() + 5
        while (waiting := any(receiver.busy for receiver in [*self.receivers])) and time.monotonic() < deadline:
            lib.shmc_interrupt(handle)
            time.sleep(0.001)
        if not waiting:
            for interest in interests:
                lib.shmc_interest_free(interest)
        self._handle = handle
        self._leave()

    def __del__(self) -> None:
        if getattr(self, "_handle", ffi.NULL) != ffi.NULL:
            with contextlib.suppress(Exception):
                self.close()

    # --- names and receivers

    def fill_target(self, target: Any, name: str) -> None:
        """Resolve a checked name into a ``shmc_target``."""
        encoded = name.encode()
        kind = "!" if "!" in name else "?" if "?" in name else ""
        domain = _DOMAINS.get(kind, lib.SHMC_WORK)
        capacity = total = self._capacities.of(name)
        if kind == "!":
            capacity, total = self._capacities.default, self._capacities.of(names.local_prefix(name))
        status = lib.shmc_target_init(self._handle, target, encoded, len(encoded), domain, capacity, total)
        if status != OK:
            self.fail(status)

    def target(self, channel: str) -> Any:
        """
        The ``shmc_target`` of a name, remembered.

        Raises:
            TypeError: the name is not allowed.
        """
        target = self._targets.get(channel) if type(channel) is str else None
        if target is None:
            names.check_channel(channel)
            if self._handle == ffi.NULL:
                raise LayerClosed(self.name)
            target = ffi.new("shmc_target *")
            self.fill_target(target, channel)
            if len(self._targets) >= _REMEMBERED:
                self._targets.clear()
                self._plain.clear()
            self._targets[channel] = target
            if not channel.startswith("websocket."):
                self._plain[channel] = target
        return target

    def new_interest(self, targets: Any, count: int) -> Any:
        """A ``shmc_interest``, freed when the layer is closed."""
        with self._lock:
            if self._handle == ffi.NULL:
                raise LayerClosed(self.name)
            interest = lib.shmc_interest_new(self._handle, targets, count)
            if interest == ffi.NULL:
                raise MemoryError("no memory for the channels of a receiver")
            self._interests.append(interest)
        return interest

    def free_interest(self, interest: Any) -> None:
        """Free one before the layer is closed."""
        with self._lock:
            if interest in self._interests:
                self._interests.remove(interest)
                lib.shmc_interest_free(interest)

    def _receiver(self, channels: Sequence[str]) -> Receiver:
        receivers = self._threads.receivers
        try:
            receiver = receivers.get(tuple(channels))
        except TypeError:
            receiver = None
        if receiver is None or not isinstance(channels, (list, tuple)):
            checked = names.check_receivables(channels)
            if len(receivers) >= 64:
                for old in receivers.values():
                    self.free_interest(old.interest)
                receivers.clear()
            receiver = receivers[tuple(checked)] = Receiver(self, checked)
        return receiver

    def fail(self, status: int) -> None:
        """
        Raise what a status means.

        Raises:
            LayerClosed, SegmentCorrupt, ChannelFull, OSError.
        """
        if status in (lib.SHMC_E_CLOSED, lib.SHMC_E_FORKED):
            raise LayerClosed(self.name)
        if status == lib.SHMC_E_CORRUPT:
            raise SegmentCorrupt(self.name, "a process read what cannot be")
        if status == NO_MEMORY:
            raise ChannelFull(self.name)
        if status == lib.SHMC_E_SYSTEM:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        raise ShmchanError(f"the core answered {status} to a call of {self.name!r}; this is a fault of shmchan, please report it")

    # --- applications

    def send(self, channel: str, message: Message) -> None:
        try:
            target = self._plain[channel]
        except (KeyError, TypeError):
            target = None
        if target is None or not is_plain(message):
            self._send(channel, self.target(channel), self.encode(message, channel), lane_key(channel, message))
            return
        payload = encode_plain(message)
        status = put(self._handle, target, payload, len(payload))
        if status:
            self._refuse(status, channel, target, len(payload))

    def send_encoded(self, channel: str, payload: bytes, key: str | None = None) -> None:
        self._send(channel, self.target(channel), payload, key)

    def _send(self, channel: str, target: Any, payload: bytes, key: str | None, order: int = 0) -> None:
        if key is None:
            status = lib.shmc_send(self._handle, target, payload, len(payload), 0, ffi.NULL, 0, 0)
        else:
            address = key.encode()
            lane = 0 if channel in self._parallel else lib.shmc_hash(self._handle, address, len(address))
            status = lib.shmc_send(self._handle, target, payload, len(payload), lane, address, min(len(address), 100), order)
        if status != OK:
            self._refuse(status, channel, target, len(payload))

    def _refuse(self, status: int, channel: str, target: Any, size: int) -> None:
        if status == FULL:
            raise ChannelFull(channel, target.capacity)
        if status == NO_MEMORY:
            raise ChannelFull(channel)
        if status == TOO_LARGE:
            raise self.MessageTooLarge(size, self.max_message_size)
        if status != GONE:  # whose reader is dead gets nothing any more; counted
            self.fail(status)

    def receive(self, channels: Sequence[str], block: bool = False) -> tuple[str, Message] | tuple[None, None]:
        try:
            receiver = self._threads.receivers[tuple(channels) if type(channels) is list else channels]  # type: ignore[index]
        except (KeyError, TypeError):
            receiver = self._receiver(channels)
        while True:
            receiver.busy = block
            brief = take(self._handle, receiver.interest, FOREVER if block else 0)
            receiver.busy = False
            if brief >= 0:
                if brief <= _BRIEF:
                    return receiver.names[0], wire.decode(receiver.taken[:brief])
                return receiver.names[brief >> 40], wire.decode(receiver.taken[: brief & _BRIEF])
            status = lib.shmc_interest_last(receiver.interest, receiver.out)
            if status in (OK, BIG):
                return self.render(receiver, receiver.out[0], receiver.taken)
            if status not in (EMPTY, INTERRUPTED):
                self.fail(status)
            if not block and status == EMPTY:
                return None, None

    async def receive_async(self, channels: Sequence[str]) -> tuple[str, Message]:
        names.check_receivables(channels)
        receiver = Receiver(self, channels)
        bell, fd = ffi.new("uint32_t *"), ffi.new("int *")
        status = lib.shmc_bell_new(self._handle, bell, fd)
        if status != OK:
            self.free_interest(receiver.interest)
            self.fail(status)
        loop = asyncio.get_running_loop()
        rung = asyncio.Event()
        loop.add_reader(fd[0], rung.set)
        try:
            while True:
                status = lib.shmc_receive(
                    self._handle, receiver.interest, 0, 1, receiver.buffer, BUFFER, receiver.out, receiver.count
                )
                if status in (OK, BIG):
                    return self.render(receiver, receiver.out[0])
                if status not in (EMPTY, INTERRUPTED):
                    self.fail(status)
                rung.clear()
                silence_bell(fd[0])
                status = lib.shmc_bell_arm(self._handle, bell[0], receiver.interest)
                if status == FULL:
                    continue
                if status != OK:
                    self.fail(status)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(rung.wait(), 0.2)
        finally:
            loop.remove_reader(fd[0])
            os.close(fd[0])
            lib.shmc_bell_free(self._handle, bell[0])
            self.free_interest(receiver.interest)

    def render(self, receiver: Receiver, out: Any, view: memoryview | None = None) -> tuple[str, Message]:
        """What came, with its full name: of a ``!`` channel, a notice of a worker's death, or a dead letter too."""
        channel = receiver.names[out.entry]
        if out.reference:  # it did not fit into the buffer
            size = out.length + out.address_length
            buffer = ffi.new("char[]", size)
            lib.shmc_read(self._handle, out.reference, buffer, size)
            lib.shmc_free(self._handle, out.reference)
            data = memoryview(ffi.buffer(buffer))
        else:
            data = (receiver.view if view is None else view)[out.offset : out.offset + out.address_length + out.length]
        return self._rendered(channel, out, data)

    def _rendered(self, channel: str, out: Any, data: memoryview) -> tuple[str, Message]:
        address = bytes(data[: out.address_length]).decode()
        if out.kind == lib.SHMC_KIND_NOTICE:
            return address, notice(out.code)
        message = wire.decode(data[out.address_length :])
        if out.kind == lib.SHMC_KIND_DEAD:
            origin = ffi.string(out.origin, out.origin_length).decode()
            message = {"channel": origin, "content": message, "cause": "crash", "attempts": out.attempts + 1}
        return (channel + address if channel.endswith("!") else channel), message

    def new_channel(self, pattern: str) -> str:
        if self._handle == ffi.NULL:
            raise LayerClosed(self.name)
        return names.check_pattern(pattern) + secrets.token_hex(10)

    def group_add(self, group: str, channel: str) -> None:
        name, member = names.check_group(group).encode(), names.check_channel(channel).encode()
        target = self.target(channel)
        status = lib.shmc_group_add(self._handle, name, len(name), member, len(member), target.capacity, target.total)
        if status != OK:
            self.fail(status)

    def group_discard(self, group: str, channel: str) -> None:
        name, member = names.check_group(group).encode(), names.check_channel(channel).encode()
        status = lib.shmc_group_discard(self._handle, name, len(name), member, len(member))
        if status != OK:
            self.fail(status)

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

    def send_group(self, group: str, message: Message) -> None:
        names.check_group(group)
        payload = self.encode(message)
        outbox = self._open_outbox(0)
        name = group.encode()
        status = lib.shmc_outbox_add_group(self._handle, outbox, name, len(name), payload, len(payload))
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

    def _count_memory(self, group: str) -> None:
        target = ffi.new("shmc_target *")
        self.fill_target(target, group)
        lib.shmc_count_drop(self._handle, target, lib.SHMC_CAUSE_MEMORY, 1)

    def flush(self) -> None:
        status = lib.shmc_flush(self._handle)
        if status != OK:
            self.fail(status)

    def global_statistics(self) -> GlobalStatistics:
        out = ffi.new("shmc_statistics *")
        status = lib.shmc_statistics_read(self._handle, out)
        if status != OK:
            self.fail(status)
        found: dict[str, Any] = {
            "messages_count": out.sent,
            "messages_count_per_second": out.sent_per_second,
            "messages_pending": out.pending,
            "messages_max_age": out.max_age,
            "channel_full_count": out.dropped[0],
            "channel_full_count_per_second": out.full_per_second,
            "memory_total": out.memory_total,
            "memory_used": out.memory_used,
            "dropped": {cause: int(out.dropped[index]) for index, cause in enumerate(CAUSES)},
        }
        for key in ("delivered", "redelivered", "leased", "dead_letters"):
            found[f"messages_{key}"] = getattr(out, key)
        for key in ("groups", "members", "connections", "outboxes", "processes", "deaths", "undone", "kills"):
            found[key] = getattr(out, key)
        return found  # type: ignore[return-value]

    def channel_statistics(self, channel: str) -> ChannelStatistics:
        out = ffi.new("shmc_channel_statistics *")
        status = lib.shmc_channel_read(self._handle, self.target(channel), out)
        if status not in (OK, EMPTY):
            self.fail(status)
        return _statistics(out)  # type: ignore[return-value]

    def all_channel_statistics(self) -> list[dict[str, Any]]:
        """`channel_statistics` of every channel that is known, each with its ``name``."""
        found: list[dict[str, Any]] = []
        cursor, count = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        out = ffi.new("shmc_channel_statistics[]", 64)
        while True:
            status = lib.shmc_channels(self._handle, cursor, 64, out, count)
            if status != OK:
                self.fail(status)
            if not count[0]:
                return found
            found += [{"name": ffi.string(row.name, row.name_length).decode(), **_statistics(row)} for row in out[0 : count[0]]]

    # --- care

    def reap(self) -> int:
        """Settle everything that dead processes owned; how many there were. Any process may do this at any time."""
        count: int = lib.shmc_reap(self._handle)
        if count < 0:
            self.fail(count)
        return count

    def check(self) -> str | None:
        """Look at every table, list and counter of the segment; what is wrong, or None. For a quiet moment."""
        text = ffi.new("char[]", 512)
        status = lib.shmc_check(self._handle, text, 512)
        if status == OK:
            return None
        if status != lib.SHMC_E_CORRUPT:
            self.fail(status)
        return ffi.string(text).decode() or "the segment is poisoned"

    def processes(self) -> list[dict[str, int]]:
        """The attached processes: slot, pid, whether they live, and what they have in hand."""
        out, count = ffi.new("shmc_process[]", 256), ffi.new("uint32_t *")
        status = lib.shmc_processes(self._handle, 256, out, count)
        if status != OK:
            self.fail(status)
        keys = ("slot", "generation", "pid", "alive", "leased", "held", "outboxes")
        return [{key: int(getattr(row, key)) for key in keys} for row in out[0 : count[0]]]

    # --- workers

    def declare_parallel(self, channel: str) -> None:
        self._parallel.add(names.check_channel(channel))

    def encode(self, message: Message, channel: str | None = None) -> bytes:
        try:
            return wire.encode(message, self.max_message_size)
        except self.MessageTooLarge:
            if channel is not None and self._handle != ffi.NULL:
                lib.shmc_count_drop(self._handle, self.target(channel), lib.SHMC_CAUSE_TOO_LARGE, 1)
            raise

    def lease(self, channels: Sequence[str], timeout: float) -> Lease | None:
        known = len(self._threads.receivers)
        receiver = self._receiver(channels)
        if len(self._threads.receivers) != known:
            lib.shmc_listen(self._handle, receiver.interest)
        end = time.monotonic() + timeout
        wait = int(timeout * _SECOND)
        while True:
            receiver.busy = True
            status = lib.shmc_lease(self._handle, receiver.interest, max(0, wait), receiver.buffer, BUFFER, receiver.out)
            receiver.busy = False
            if status in (OK, BIG):
                return self._leased(receiver, receiver.out[0], status == BIG)
            if status not in (EMPTY, INTERRUPTED):
                self.fail(status)
            wait = int((end - time.monotonic()) * _SECOND)
            if wait <= 0 or status == EMPTY:
                return None

    def _leased(self, receiver: Receiver, out: Any, big: bool) -> Lease:
        size = out.address_length + out.length
        data = receiver.view[:size]
        if big:
            buffer = ffi.new("char[]", size)
            lib.shmc_read(self._handle, out.reference, buffer, size)
            data = memoryview(ffi.buffer(buffer))
        channel, message = self._rendered(receiver.names[out.entry], out, data)
        lease = Lease(channel, message, out.attempts, out.reference)
        if channel != receiver.names[out.entry] or default_policy(channel) != "drop":
            lib.shmc_set_policy(self._handle, out.reference, _POLICY[default_policy(channel)])
        return lease

    def set_policy(self, lease: Lease, policy: Policy) -> None:
        if policy not in POLICIES:
            raise ValueError(f"a crash policy is one of {', '.join(POLICIES)}, not {policy!r}")
        lib.shmc_set_policy(self._handle, lease.token, _POLICY[policy])

    def commit(self, lease: Lease, outbox: Outbox) -> Parked | None:
        if not outbox.items:
            status = lib.shmc_acknowledge(self._handle, lease.token)
            if status != OK:
                self._unsettled(status, lease)
            return None
        reference = self._prepared(lease, outbox)
        if reference is None:
            return None
        status = lib.shmc_outbox_commit(self._handle, reference, int(OWED_SECONDS * _SECOND))
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
                group = name.encode()
                status = lib.shmc_outbox_add_group(handle, reference, group, len(group), payload, len(payload))
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
        status = lib.shmc_requeue(self._handle, lease.token, int(delay * _SECOND))
        if status != OK:
            self._unsettled(status, lease)

    # --- fronts

    @property
    def handle(self) -> Any:
        """The ``shmc *`` of this process; NULL once closed."""
        return self._handle

    def open_port(self) -> ShmPort:
        port = ShmPort(self)
        self._ports.append(port)
        return port


def notice(code: int) -> Message:
    """What a front is told when the worker died that had a client's message in hand."""
    if code == 502:
        text = b"502 Bad Gateway: the worker that had this request was killed."
        return {"status": 502, "headers": [[b"content-type", b"text/plain; charset=utf-8"]], "content": text}
    if code == 500:
        return {"accept": False, "status": 500}
    return {"close": 1011}


def unpacked(prefix: str, packed: bytes) -> list[str]:
    """Names from the core, each a byte of length and what follows the prefix."""
    text = packed.decode()
    found, at = [], 0
    while at < len(text):
        end = at + 1 + ord(text[at])
        found.append(prefix + text[at + 1 : end])
        at = end
    return found


def silence_bell(fd: int) -> None:
    """Read a bell empty."""
    with contextlib.suppress(BlockingIOError):
        os.read(fd, 4096)


def _statistics(row: Any) -> dict[str, Any]:
    return {
        "messages_count": row.sent,
        "messages_count_per_second": row.sent_per_second,
        "messages_pending": row.pending,
        "messages_max_age": row.max_age,
        "channel_full_count": row.dropped[0],
        "channel_full_count_per_second": row.full_per_second,
        "messages_delivered": row.delivered,
        "messages_redelivered": row.redelivered,
        "dropped": {cause: int(row.dropped[index]) for index, cause in enumerate(CAUSES)},
    }


def _least_memory(options: Any, fixed_message_size: bool) -> int:
    """Bytes, whole MiB, that are enough; the longest message follows the memory, unless it was given."""
    least = 0
    while (needed := lib.shmc_memory_minimum(options)) > least:
        least = -(-needed >> 20) << 20
        if not fixed_message_size:
            options.max_message_size = min(MAX_MESSAGE_SIZE, least >> 3)
    return least


def _given(
    expiry: float | None,
    group_expiry: float | None,
    capacity: int | None,
    channel_capacity: Mapping[Any, int] | None,
    memory: int | None,
    max_message_size: int | None,
) -> dict[str, Any]:
    """The options that were given, checked; patterns as ``(expression, flags, number)``."""
    given: dict[str, Any] = {}
    for key, value in (("expiry", expiry), ("group_expiry", group_expiry)):
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
                raise ValueError(f"{key} is a positive number of seconds, not {value!r}")
            given[key] = float(value)
    for key, number in (("memory", memory), ("max_message_size", max_message_size)):
        if number is not None:
            if type(number) is not int or not 0 < number < 1 << 46:
                raise ValueError(f"{key} is a positive number of bytes, not {number!r}")
            given[key] = number
    if capacity is not None or channel_capacity is not None:
        checked = Capacities(DEFAULT_CAPACITY if capacity is None else capacity, channel_capacity)
        if capacity is not None:
            given["capacity"] = capacity
        if channel_capacity is not None:
            given["channel_capacity"] = [(pattern.pattern, pattern.flags, number) for pattern, number in checked.patterns]
    return given
