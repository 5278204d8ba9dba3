"""
The delay process's end of a layer: what it takes in from ``asgi.delay``, and how it hands over what is due.

Owns the leases of what was taken in and not yet let go. It never looks into a message and never touches the heap. One thread of
the delay process runs it; `run --debug` runs it beside front and consumers, on the layer in memory.
"""

import abc
import contextlib
import enum
import itertools
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from shmchan import names
from shmchan._core import ffi, lib
from shmchan.exceptions import ChannelFull, MessageTooLarge
from shmchan.layers import wire
from shmchan.layers.attachment import BIG, EMPTY, FULL, GONE, INTERRUPTED, NO_MEMORY, OK, TOO_LARGE, Receiver
from shmchan.layers.base import DEAD_CHANNEL, DELAY_CHANNEL, Lease, Message, Outbox, lane_key
from shmchan.layers.receiving import silence_bell

if TYPE_CHECKING:
    from shmchan.layers.memory import InMemoryChannelLayer
    from shmchan.layers.shm import ShmChannelLayer

BATCH = 64
"""Messages that one call leases, and that one batch hands over: the bits of a note's mask."""

ROOM = 1 << 20
DEAD_LETTERS = 10_000
"""Messages that ``shmchan.dead`` holds at most, as for those of dead workers (csrc/reap.c)."""


class Incoming(NamedTuple):
    """
    A message for the delay process.

    Attributes:
        number: of its enqueue; grows, and stays the same when it is put back.
        payload: the message, encoded.
        queued_ns: when it was queued, CLOCK_MONOTONIC.
        token: how the port finds it again.
    """

    number: int
    payload: bytes
    queued_ns: int
    token: Any


class Outcome(enum.Enum):
    """What became of a message that was to be handed over."""

    DONE = "done"
    """It is queued, or its reader is dead for good, which is counted."""
    FULL = "full"
    TOO_LARGE = "too large"


class DelayPort(abc.ABC):
    """
    What the delay process asks of a layer.

    Attributes:
        epoch: random, of this segment: notes and numbers of another one mean nothing here.
    """

    epoch: int

    @abc.abstractmethod
    def take(self, limit: int) -> list[Incoming]:
        """Take at most ``limit`` messages in hand, oldest first. If this process is killed they are put back, in order."""

    @abc.abstractmethod
    def acknowledge(self, taken: list[Incoming]) -> None:
        """Let go of messages that are stored."""

    @abc.abstractmethod
    def reject(self, taken: Incoming) -> None:
        """Let go of a message that nobody can serve: it counts as dropped."""

    @abc.abstractmethod
    def put(self, batch: int, bit: int, channel: str, payload: bytes) -> Outcome:
        """Hand over message ``bit`` of a batch, unless that was done before; noted in the same step."""

    @abc.abstractmethod
    def noted(self, batch: int) -> int:
        """The mask of what was handed over of this batch; 0 if nothing is known of it."""

    @abc.abstractmethod
    def reply(self, channel: str, message: Message) -> bool:
        """Answer somebody; False if there is no room for the answer."""

    @abc.abstractmethod
    def fileno(self) -> int:
        """A descriptor that becomes readable when a message comes after `arm`."""

    @abc.abstractmethod
    def arm(self) -> bool:
        """Ask to be woken by the next message; True if one is there already, and then nobody wakes."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give the port up; what is in hand is put back."""


class ShmDelayPort(DelayPort):
    """The port on the layer in shared memory."""

    def __init__(self, layer: "ShmChannelLayer") -> None:
        self._layer = layer
        self.epoch = int(lib.shmc_epoch(layer.handle)) & (1 << 63) - 1
        self._receiver = Receiver(layer, [DELAY_CHANNEL], BATCH)
        self._buffer = ffi.new("char[]", ROOM)
        self._view = memoryview(ffi.buffer(self._buffer))
        self._mask = ffi.new("uint64_t *")
        bell, fd = ffi.new("uint32_t *"), ffi.new("int *")
        self._must(lib.shmc_bell_new(layer.handle, bell, fd))
        self._bell, self._fd = bell[0], fd[0]
        self._dead = ffi.new("shmc_target *")
        name = DEAD_CHANNEL.encode()
        self._must(lib.shmc_target_init(layer.handle, self._dead, name, len(name), lib.SHMC_WORK, DEAD_LETTERS, DEAD_LETTERS))

    def _must(self, status: int) -> None:
        if status != OK:
            self._layer.fail(status)

    def take(self, limit: int) -> list[Incoming]:
        receiver, handle, view = self._receiver, self._layer.handle, self._view
        taken: list[Incoming] = []
        while len(taken) < limit:
            status = lib.shmc_lease_all(
                handle, receiver.interest, min(BATCH, limit - len(taken)), self._buffer, ROOM, receiver.out, receiver.count
            )
            if status in (EMPTY, INTERRUPTED):
                break
            if status not in (OK, BIG):
                self._layer.fail(status)
            for out in receiver.out[0 : receiver.count[0]]:
                start = out.offset
                if start == (1 << 64) - 1:  # a long one has a buffer of its own
                    size = out.address_length + out.length
                    buffer = ffi.new("char[]", size)
                    self._must(lib.shmc_read(handle, out.reference, buffer, size))
                    payload = bytes(ffi.buffer(buffer))[out.address_length :]
                else:
                    start += out.address_length
                    payload = bytes(view[start : start + out.length])
                taken.append(Incoming(out.number, payload, out.queued_ns, out.reference))
        return taken

    def acknowledge(self, taken: list[Incoming]) -> None:
        leases = ffi.new("uint64_t[]", [one.token for one in taken])
        self._must(lib.shmc_acknowledge_all(self._layer.handle, leases, len(taken)))

    def reject(self, taken: Incoming) -> None:
        status = lib.shmc_reject(self._layer.handle, taken.token)
        if status != GONE:
            self._must(status)

    def put(self, batch: int, bit: int, channel: str, payload: bytes) -> Outcome:
        layer = self._layer
        target = self._dead if channel == DEAD_CHANNEL else layer.target(channel)
        key, lane = b"", 0
        if channel.startswith("websocket.") and not names.is_local(channel):
            key = (lane_key(channel, wire.decode(payload)) or "").encode()[:100]
            lane = int(lib.shmc_hash(layer.handle, key, len(key))) if key else 0
        status = lib.shmc_delay_put(layer.handle, target, payload, len(payload), lane, key, len(key), batch, bit)
        if status in (OK, GONE):
            return Outcome.DONE
        if status == TOO_LARGE:
            return Outcome.TOO_LARGE
        if status not in (FULL, NO_MEMORY):
            layer.fail(status)
        return Outcome.FULL

    def noted(self, batch: int) -> int:
        self._must(lib.shmc_delay_mask(self._layer.handle, batch, self._mask))
        return int(self._mask[0])

    def reply(self, channel: str, message: Message) -> bool:
        return _reply(self._layer, channel, message)

    def fileno(self) -> int:
        return int(self._fd)

    def arm(self) -> bool:
        silence_bell(self._fd)
        status = lib.shmc_bell_arm(self._layer.handle, self._bell, self._receiver.interest)
        if status not in (OK, FULL):
            self._layer.fail(status)
        return bool(status == FULL)

    def close(self) -> None:
        lib.shmc_bell_free(self._layer.handle, self._bell)
        os.close(self._fd)
        self._layer.free_interest(self._receiver.interest)


class MemoryDelayPort(DelayPort):
    """The port on the layer of one process: whatever kills the one kills the other, so a note needs no more than a dict."""

    def __init__(self, layer: "InMemoryChannelLayer") -> None:
        self._layer = layer
        self.epoch = secrets.randbits(63)
        self._numbers = itertools.count(1)
        self._channels = [DELAY_CHANNEL]
        self._batch, self._mask = 0, 0
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        layer.add_waker(self._ring)

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._fd, 1)

    def take(self, limit: int) -> list[Incoming]:
        taken: list[Incoming] = []
        while len(taken) < limit and (lease := self._layer.lease(self._channels, 0)) is not None:
            queued_ns = time.monotonic_ns()
            taken.append(Incoming(next(self._numbers), self._layer.encode(lease.content), queued_ns, lease))
        return taken

    def acknowledge(self, taken: list[Incoming]) -> None:
        for one in taken:
            lease: Lease = one.token
            self._layer.commit(lease, Outbox())

    def reject(self, taken: Incoming) -> None:
        self.acknowledge([taken])
        self._layer.dropped["bad"] += 1

    def put(self, batch: int, bit: int, channel: str, payload: bytes) -> Outcome:
        if self._batch == batch and self._mask >> bit & 1:
            return Outcome.DONE
        try:
            self._layer.send(channel, wire.decode(payload))
        except ChannelFull:
            return Outcome.FULL
        except MessageTooLarge:
            return Outcome.TOO_LARGE
        self._mask = (self._mask if self._batch == batch else 0) | 1 << bit
        self._batch = batch
        return Outcome.DONE

    def noted(self, batch: int) -> int:
        return self._mask if self._batch == batch else 0

    def reply(self, channel: str, message: Message) -> bool:
        return _reply(self._layer, channel, message)

    def fileno(self) -> int:
        return self._fd

    def arm(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        return bool(self._layer.channel_statistics(DELAY_CHANNEL)["messages_pending"])

    def close(self) -> None:
        self._layer.discard_waker(self._ring)
        os.close(self._fd)


def _reply(layer: Any, channel: str, message: Message) -> bool:
    try:
        layer.send(channel, message)
    except ChannelFull:
        return False
    return True
