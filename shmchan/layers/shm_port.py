"""
A front's port on the layer in shared memory.

Owns two queues, a bell and the names of its connections. It never keeps a message: what is drained belongs to the front. It
runs in the process of the front, in one thread.
"""

import contextlib
import itertools
import os
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shmchan import names
from shmchan._core import ffi, lib
from shmchan.exceptions import ChannelFull, LayerClosed
from shmchan.layers import tally, wire
from shmchan.layers.attachment import Receiver
from shmchan.layers.base import GroupReceivers, Kind, Message, Port
from shmchan.layers.receiving import unpacked

if TYPE_CHECKING:
    from shmchan.layers.shm import ShmChannelLayer

BATCH = 64
_CODE = b"\xa4code\xcd"
_ORDER = b"\xa5order\xce"


class ShmPort(Port):
    """
    One front's port; made by :meth:`ShmChannelLayer.open_port`.

    Raises:
        OSError: no bell can be made in the instance's folder.
    """

    def __init__(self, layer: "ShmChannelLayer") -> None:
        self._layer = layer
        ident = secrets.token_hex(5)
        self.http_prefix = f"http.response.{ident}!"
        self.websocket_prefix = f"websocket.send.{ident}!"
        self._serial = itertools.count(1)
        self._orders: dict[str, int] = {}
        self._closed = False
        queues = [self.http_prefix, self.websocket_prefix]
        self._receiver = Receiver(layer, queues, BATCH)
        for queue in queues:
            target = ffi.new("shmc_target *")
            layer.fill_target(target, queue)
            self._must(lib.shmc_front_own(layer.handle, target))
        bell, fd = ffi.new("uint32_t *"), ffi.new("int *")
        self._must(lib.shmc_bell_new(layer.handle, bell, fd))
        self._bell, self._fd = bell[0], fd[0]
        self._connect = layer.target("websocket.connect")
        self._disconnect = layer.target("websocket.disconnect")

    def _must(self, status: int) -> None:
        if status != lib.SHMC_OK:
            self._layer.fail(status)

    def fileno(self) -> int:
        return int(self._fd)

    def new_reply_channel(self, kind: Kind) -> str:
        prefix = self.http_prefix if kind == "http" else self.websocket_prefix
        return f"{prefix}{next(self._serial):x}"

    def _lane(self, address: bytes) -> int:
        return int(lib.shmc_hash(self._layer.handle, address, len(address)))

    def connect(self, reply_channel: str, message: Message, disconnect: Message) -> None:
        layer = self._layer
        hello = layer.encode(message, "websocket.connect")
        rest = {key: value for key, value in disconnect.items() if key not in ("code", "order")}
        goodbye, code_at, order_at = _with_numbers(wire.encode(rest, layer.max_message_size - 32), _after(message, disconnect))
        address = reply_channel.encode()
        status = lib.shmc_connection_open(
            layer.handle,
            self._connect,
            self._disconnect,
            self._lane(address),
            address,
            len(address),
            hello,
            len(hello),
            goodbye,
            len(goodbye),
            code_at,
            order_at,
        )
        if status == lib.SHMC_FULL:
            raise ChannelFull("websocket.connect", self._connect.capacity)
        if status == lib.SHMC_NO_MEMORY:
            raise ChannelFull("websocket.connect")
        self._must(status)
        self._orders[reply_channel] = _after(message, disconnect)

    def receive(self, reply_channel: str, message: Message) -> None:
        layer = self._layer
        payload = layer.encode(message, "websocket.receive")
        order = message.get("order")
        number = order if isinstance(order, int) else 0
        layer._send("websocket.receive", layer.target("websocket.receive"), payload, reply_channel, number)
        if reply_channel in self._orders:
            self._orders[reply_channel] = number + 1

    def disconnect(self, reply_channel: str, code: int) -> None:
        order = self._orders.pop(reply_channel, None)
        if order is None:
            return
        status = lib.shmc_connection_close(self._layer.handle, self._lane(reply_channel.encode()), code, order)
        if status != lib.SHMC_GONE:
            self._must(status)
        self.left(reply_channel)

    def send(self, channel: str, message: Message) -> None:
        layer = self._layer
        payload = layer.encode(message, channel)
        reply_channel = message.get("reply_channel")
        address = reply_channel.encode() if isinstance(reply_channel, str) else b""
        target = layer.target(channel)
        if names.is_local(channel) or not 0 < len(address) <= 100:
            address = b""
        status = lib.shmc_send(layer.handle, target, payload, len(payload), 0, address, len(address), 0)
        if status != lib.SHMC_OK:
            layer._refuse(status, channel, target, len(payload))

    def drain(self, limit: int = BATCH) -> list[tuple[list[str], Message]]:
        if self._closed:
            raise LayerClosed(self._layer.name)
        layer, receiver = self._layer, self._receiver
        handle = layer.handle
        while True:
            status = lib.shmc_receive(
                handle, receiver.interest, 0, min(limit, BATCH), receiver.buffer, len(receiver.view), receiver.out, receiver.count
            )
            if status in (lib.SHMC_OK, lib.SHMC_BIG):
                return [self._delivery(receiver.out[index]) for index in range(receiver.count[0])]
            if status == lib.SHMC_EMPTY:
                self._silence()
                status = lib.shmc_bell_arm(handle, self._bell, receiver.interest)
                if status == lib.SHMC_OK:
                    return []
                if status == lib.SHMC_FULL:
                    continue
            if status != lib.SHMC_INTERRUPTED:
                layer.fail(status)

    def _silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 4096)

    def _delivery(self, out: Any) -> tuple[list[str], Message]:
        layer = self._layer
        if out.kind != lib.SHMC_KIND_GROUP:
            channel, message = layer.render(self._receiver, out)
            return [channel], message
        queue = self._receiver.names[out.entry]
        sequence = out.sequence
        name, message = layer.render(self._receiver, out)
        group = name[len(queue) :]
        packed = layer.packed_members(group, queue, sequence)
        receivers = unpacked(queue, packed)
        admitted = ffi.new("uint8_t[]", len(receivers))
        target, capacity = layer.target(queue), layer.capacity
        self._must(lib.shmc_group_admit(layer.handle, target, packed, len(packed), capacity, admitted))
        if 0 in bytes(admitted):
            receivers = [name for name, room in zip(receivers, admitted, strict=True) if room]
        return GroupReceivers(group, receivers), message

    def credit(self, reply_channel: str, count: int = 1) -> None:
        self._must(lib.shmc_credit(self._layer.handle, self._layer.target(reply_channel), count))

    def left(self, channel: str) -> None:
        name = channel.encode()
        self._must(lib.shmc_presence_leave(self._layer.handle, name, len(name)))

    def dropped(self, channel: str, count: int = 1) -> None:
        self._must(lib.shmc_count_drop(self._layer.handle, self._layer.target(channel), lib.SHMC_CAUSE_FULL, count))

    def counts(self, counters: Sequence[str]) -> memoryview:
        return tally.open_tally(self._layer.folder, self._layer.name, counters)

    def connecting(self, reply_channel: str) -> bool:
        status = lib.shmc_lane_busy(self._layer.handle, self._lane(reply_channel.encode()))
        if status < 0:
            self._layer.fail(status)
        return bool(status)

    def listens(self, channel: str) -> bool:
        status = lib.shmc_is_listened(self._layer.handle, self._layer.target(channel))
        if status < 0:
            self._layer.fail(status)
        return bool(status)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        layer = self._layer
        for reply_channel in [*self._orders]:
            self.disconnect(reply_channel, 1006)
        lib.shmc_bell_free(layer.handle, self._bell)
        os.close(self._fd)
        for queue in (self.http_prefix, self.websocket_prefix):
            lib.shmc_front_leave(layer.handle, layer.target(queue))
        layer.free_interest(self._receiver.interest)


def _with_numbers(payload: bytes, order: int) -> tuple[bytes, int, int]:
    """
    A message with ``code`` 1006 and ``order`` in fixed width at its end, and where the two stand.

    Source: MessagePack specification, "map format family": a dict of fewer than 16 keys begins with 0x80 + their number.
    """
    keys = payload[0] - 0x80
    if not 0 <= keys <= 13:
        raise TypeError("the disconnect of a connection has at most 13 keys besides code and order")
    payload = bytes([0x80 + keys + 2]) + payload[1:] + _CODE
    code_at = len(payload)
    payload += (1006).to_bytes(2, "big") + _ORDER
    order_at = len(payload)
    return payload + order.to_bytes(4, "big"), code_at, order_at


def _after(message: Message, disconnect: Message) -> int:
    order = message.get("order")
    return order + 1 if isinstance(order, int) else int(disconnect.get("order", 0)) + 1
