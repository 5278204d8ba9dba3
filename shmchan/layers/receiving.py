"""
Messages on their way out of the segment: received, or leased, and made into what people sent.

Owns nothing. It never changes what is in the segment but by the one call that takes. Every process of an instance runs it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence
from typing import Any, cast

from shmchan import names
from shmchan._core import ffi, lib
from shmchan._exchange import CLOSED
from shmchan._exchange import EMPTY as NOTHING
from shmchan.exceptions import LayerClosed
from shmchan.layers import wire
from shmchan.layers.attachment import BIG, BUFFER, EMPTY, FULL, INTERRUPTED, OK, SECOND, Attachment, Receiver
from shmchan.layers.base import Lease, Message

FOREVER = (1 << 64) - 1
POLICY_NUMBERS = {"drop": 0, "notify": 1, "redeliver": 2, "dead_letter": 3}
_BRIEF = (1 << 40) - 1


class Receiving(Attachment):
    """The half of the layer that takes."""

    def _receive_slowly(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, Message] | tuple[None, None]:
        return self._receive_told(channels, block, None, timeout)

    def _receive_told(
        self, channels: Sequence[str], block: bool, taken: int | None, timeout: float | None = None
    ) -> tuple[str, Message] | tuple[None, None]:
        """Receive, or go on with what the receiver's taker returned, which was no message that it could render itself."""
        receiver = self._receiver(channels)
        end = time.monotonic() + timeout if block and timeout is not None else None
        while True:
            if taken is None:
                wait = FOREVER if end is None else max(0, int((end - time.monotonic()) * SECOND))
                found = receiver.take(wait if block else 0)
                if type(found) is tuple:
                    return found
                taken = cast(int, found)
            if taken >= 0:  # bytes that are no message: it says why
                return receiver.names[taken >> 40], wire.decode(receiver.taken[: taken & _BRIEF])
            if self._handle == ffi.NULL or taken == CLOSED:
                raise LayerClosed(self.name)
            if taken == NOTHING:
                if not block or (end is not None and time.monotonic() >= end):
                    return None, None
            else:
                status = lib.shmc_interest_last(receiver.interest, receiver.out)
                if status in (OK, BIG):
                    return self.render(receiver, receiver.out[0], receiver.taken)
                if status != INTERRUPTED:
                    self.fail(status)
            taken = None

    def forget(self, channel: str) -> None:
        self._drop_receiver((channel,))

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

    def lease(self, channels: Sequence[str], timeout: float) -> Lease | None:
        known = len(self._threads.receivers)
        receiver = self._receiver(channels)
        if len(self._threads.receivers) != known:
            lib.shmc_listen(self._handle, receiver.interest)
        end = time.monotonic() + timeout
        wait = int(timeout * SECOND)
        while True:
            receiver.busy = True
            status = lib.shmc_lease(self._handle, receiver.interest, max(0, wait), receiver.buffer, BUFFER, receiver.out)
            receiver.busy = False
            if status in (OK, BIG):
                return self._leased(receiver, receiver.out[0], status == BIG)
            if status not in (EMPTY, INTERRUPTED):
                self.fail(status)
            wait = int((end - time.monotonic()) * SECOND)
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
        return Lease(channel, message, out.attempts, out.reference)


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
