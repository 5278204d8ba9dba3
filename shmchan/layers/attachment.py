"""
This process's attachment to a segment: making it, coming, going, and the names it resolved.

Owns the ``shmc *``, the remembered targets and the receivers of every thread, and says what a status code means. It never sends
or takes a message. Every process of an instance runs it.
"""

import contextlib
import os
import re
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from shmchan import names
from shmchan._core import ffi, lib
from shmchan._exchange import Exchange, Putter, Taker
from shmchan.exceptions import (
    ChannelFull,
    InstanceKilled,
    InstanceRunning,
    LayerClosed,
    NoInstance,
    SegmentCorrupt,
    SegmentVersion,
    ShmchanError,
)
from shmchan.layers import instance, wire
from shmchan.layers.base import BaseChannelLayer
from shmchan.layers.capacity import DEFAULT_CAPACITY, Capacities

if TYPE_CHECKING:
    from shmchan.layers.shm_port import ShmPort

MEMORY = 256 << 20
EXPIRY = 60.0
GROUP_EXPIRY = 86400.0
BUFFER = 64 << 10
SECOND = 1_000_000_000
_REMEMBERED = 10_000
encode_plain = msgspec.msgpack.Encoder().encode
_DOMAINS = {"!": lib.SHMC_REPLY, "?": lib.SHMC_SINGLE}

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

    __slots__ = (
        "__weakref__",
        "buffer",
        "busy",
        "count",
        "interest",
        "names",
        "out",
        "take",
        "taken",
        "view",
    )

    def __init__(self, layer: "Attachment", channels: Sequence[str], batch: int = 1) -> None:
        targets = ffi.new("shmc_target[]", len(channels))
        for index, name in enumerate(channels):
            layer.fill_target(ffi.addressof(targets, index), name)
        self.names = list(channels)
        self.buffer = ffi.new("char[]", BUFFER)
        self.view = memoryview(ffi.buffer(self.buffer))
        self.out = ffi.new("shmc_message[]", batch)
        self.count = ffi.new("uint32_t *")
        self.interest = layer.new_interest(targets, len(channels))
        buffer = lib.shmc_interest_buffer(self.interest, ffi.new("uint64_t *"))
        self.taken = memoryview(ffi.buffer(buffer, BUFFER))
        self.take = Taker(
            _address(ffi.addressof(lib, "shmc_take")),
            _address(layer.handle),
            _address(self.interest),
            _address(buffer),
            wire.decode_any,
            tuple(self.names),
        )
        self.busy = False
        layer.receivers.add(self)


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


class _Threads(threading.local):
    def __init__(self) -> None:
        self.receivers: dict[tuple[str, ...], Receiver] = {}


class Attachment(Exchange, BaseChannelLayer):
    """
    What a process has of a segment; :class:`shmchan.layers.shm.ShmChannelLayer` says what the arguments mean.
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
        self.name = names.check_instance(name)
        self.router = None
        self._handle: Any = ffi.NULL
        self.keep = mode == "examine"  # leave the segment where it is, also as the last one
        given = _given(expiry, group_expiry, capacity, channel_capacity, memory, max_message_size)
        self.folder = instance.base_folder()
        with instance.changing(self.folder, name):
            path = instance.segment_path(self.folder, name)
            if mode == "create" and path.exists() and lib.shmc_count_live(os.fsencode(path)) > 0:
                raise InstanceRunning(name)
            if mode == "examine" and path.exists():
                self._handle = self._attached(path, lib.shmc_examine)
            elif path.exists() and mode != "create":
                self._handle = self._attached(path, lib.shmc_attach)
            elif mode in ("attach", "examine"):
                raise NoInstance(name)
            else:
                self._handle = self._created(given)
        self._adopt(given)
        self._threads = _Threads()
        self._interests: list[Any] = []
        self._lock = threading.Lock()
        self._targets: dict[str, Any] = {}
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
            InstanceKilled: nobody of it is alive: what killed processes left is for the next run, and stays.
        """
        found = names.check_instance(name if name is not None else os.environ.get("SHMCHAN_NAME") or "default")
        path = instance.segment_path(instance.base_folder(), found)
        alone = path.exists() and lib.shmc_count_live(os.fsencode(path)) == 0
        layer = cls(found, mode="attach")  # first, so that another version or damage is told
        if alone:
            layer.keep = True
            layer.close()
            raise InstanceKilled(found)
        return layer

    @classmethod
    def examine(cls, name: str) -> Self:
        """
        Look at a segment that killed processes left behind, in a private copy: nothing of what is done reaches the segment.

        Raises:
            NoInstance: there is none.
            InstanceRunning: a live process is attached to it; attach, instead.
        """
        path = instance.segment_path(instance.base_folder(), names.check_instance(name))
        if path.exists() and lib.shmc_count_live(os.fsencode(path)) > 0:
            raise InstanceRunning(name)
        return cls(name, mode="examine")

    @classmethod
    def attach_left_over(cls, name: str) -> Self | None:
        """Attach to a segment that killed processes left behind, to settle it; None if there is none, or somebody lives in it."""
        path = instance.segment_path(instance.base_folder(), names.check_instance(name))
        if not path.exists() or lib.shmc_count_live(os.fsencode(path)) > 0:
            return None
        return cls(name, mode="attach")

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
        options.max_message_size = given.get("max_message_size", min(wire.LONGEST, memory >> 3))
        options.expiry_ns = int(given.get("expiry", EXPIRY) * SECOND)
        options.group_expiry_ns = int(given.get("group_expiry", GROUP_EXPIRY) * SECOND)
        options.capacity = given.get("capacity", DEFAULT_CAPACITY)
        blob = msgspec.msgpack.encode(given.get("channel_capacity", []))
        if len(blob) > 4000:
            raise ValueError(f"channel_capacity takes {len(blob)} bytes, at most 4000 fit; use fewer patterns")
        options.blob_length = len(blob)
        ffi.buffer(options.blob)[0 : len(blob)] = blob
        made = instance.new_folder(self.folder, self.name)
        out = ffi.new("shmc **")
        status = lib.shmc_create(os.fsencode(made / instance.SEGMENT), options, out)
        if status == NO_MEMORY:
            made.rmdir()
            raise NotEnoughMemory(memory, _least_memory(options, "max_message_size" in given))
        if status != OK:
            error = ffi.errno
            raise OSError(
                error, f"no segment of {memory} bytes can be made in {self.folder} ({os.strerror(error)}); give less --memory"
            )
        instance.publish(self.folder, self.name, made)
        lib.shmc_moved(out[0], os.fsencode(instance.segment_path(self.folder, self.name)))
        return out[0]

    def _attached(self, path: Any, attach: Any) -> Any:
        out, version = ffi.new("shmc **"), ffi.new("uint64_t *")
        status = attach(os.fsencode(path), version, out)
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
                "expiry": options.expiry_ns / SECOND,
                "group_expiry": options.group_expiry_ns / SECOND,
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
        with instance.changing(self.folder, self.name):
            if lib.shmc_detach(handle, alone) == OK and alone[0] and not self.keep:
                instance.remove(self.folder, self.name)

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
            self._close_takers()
            return
        for port in ports:
            port.close()
        self._handle = ffi.NULL
        takers = self._close_takers()
        receivers = [*self.receivers]
        deadline = time.monotonic() + 5
        while (
            waiting := any(receiver.busy for receiver in receivers) or any(taker.busy for taker in takers)
        ) and time.monotonic() < deadline:
            lib.shmc_interrupt(handle)
            time.sleep(0.001)
        if not waiting:
            for interest in interests:
                lib.shmc_interest_free(interest)
        self._handle = handle
        self._leave()

    def _close_takers(self) -> set[Taker]:
        """Let no call reach the core any more by the short way; the takers, in which threads may still wait."""
        takers = {*self._takers.values(), *(receiver.take for receiver in [*self.receivers])}
        self._putters.clear()
        self._takers.clear()
        for taker in takers:
            taker.close()
        return takers

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
                self._putters.clear()
            self._targets[channel] = target
            if not channel.startswith("websocket."):
                put = _address(ffi.addressof(lib, "shmc_put"))
                self._putters[channel] = Putter(put, _address(self._handle), _address(target), encode_plain, target)
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
                for known in [*receivers]:
                    self._drop_receiver(known)
            receiver = receivers[tuple(checked)] = Receiver(self, checked)
            self._takers.setdefault(_key(tuple(checked)), receiver.take)  # the first thread's; others take the long way
        return receiver

    def _drop_receiver(self, channels: tuple[str, ...]) -> None:
        """Free this thread's receiver, if it has one."""
        receiver = self._threads.receivers.pop(channels, None)
        if receiver is not None:
            if self._takers.get(key := _key(channels)) is receiver.take:
                del self._takers[key]
            receiver.take.close()
            self.free_interest(receiver.interest)

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

    @property
    def handle(self) -> Any:
        """The ``shmc *`` of this process; NULL once closed."""
        return self._handle


def _key(channels: tuple[str, ...]) -> str | tuple[str, ...]:
    """Under which an Exchange looks for a Taker."""
    return channels[0] if len(channels) == 1 else channels


def _least_memory(options: Any, fixed_message_size: bool) -> int:
    """Bytes, whole MiB, that are enough; the longest message follows the memory, unless it was given."""
    least = 0
    while (needed := lib.shmc_memory_minimum(options)) > least:
        least = -(-needed >> 20) << 20
        if not fixed_message_size:
            options.max_message_size = min(wire.LONGEST, least >> 3)
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
