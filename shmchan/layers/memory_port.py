"""
A front's port on the in-memory layer.

Owns the connections it made and the disconnects it owes them. It never stores a message that waits: those are in the layer's
backlog, and every step here is done under the layer's lock. It runs in the process of ``run --debug``, and in tests.
"""

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from shmchan import names
from shmchan.layers import wire
from shmchan.layers.backlog import Entry
from shmchan.layers.base import Kind, Message, Port

if TYPE_CHECKING:
    from shmchan.layers.memory import InMemoryChannelLayer


class MemoryPort(Port):
    """
    One front's port; made by :meth:`InMemoryChannelLayer.open_port`.

    Args:
        layer: the layer it belongs to.
        ident: what its prefixes have in their middle.
    """

    def __init__(self, layer: "InMemoryChannelLayer", ident: str) -> None:
        self.http_prefix = f"http.response.{ident}!"
        self.websocket_prefix = f"websocket.send.{ident}!"
        self._layer = layer
        self._lock = layer._lock
        self._queues = [self.http_prefix, self.websocket_prefix]
        self._serial = itertools.count(1)
        self._disconnects: dict[str, Message] = {}
        self._callback: Callable[[], object] | None = None
        self._armed = False
        self._closed = False

    def fileno(self) -> None:
        return None

    def on_ready(self, callback: Callable[[], object] | None) -> None:
        with self._lock:
            self._callback = callback

    def new_reply_channel(self, kind: Kind) -> str:
        prefix = self.http_prefix if kind == "http" else self.websocket_prefix
        return f"{prefix}{next(self._serial):x}"

    def connect(self, reply_channel: str, message: Message, disconnect: Message) -> None:
        self._layer.encode(disconnect)  # what cannot travel is said now, not when the client has left
        payload = self._layer.encode(message)
        with self._lock:
            self._layer.send_encoded("websocket.connect", payload, reply_channel)
            self._disconnects[reply_channel] = {**disconnect, "order": _after(message, disconnect)}

    def receive(self, reply_channel: str, message: Message) -> None:
        payload = self._layer.encode(message)
        with self._lock:
            self._layer.send_encoded("websocket.receive", payload, reply_channel)
            disconnect = self._disconnects.get(reply_channel)
            if disconnect is not None:
                disconnect["order"] = _after(message, disconnect)

    def disconnect(self, reply_channel: str, code: int) -> None:
        with self._lock:
            disconnect = self._disconnects.pop(reply_channel, None)
            if disconnect is None:
                return
            payload = self._layer.encode({**disconnect, "code": code})
            channel = "websocket.disconnect"
            key = None if channel in self._layer._parallel else reply_channel
            self._layer._put(channel, payload, key, expires=False)
            self.left(reply_channel)

    def send(self, channel: str, message: Message) -> None:
        self._layer.send(channel, message)

    def drain(self, limit: int = 64) -> list[tuple[list[str], Message]]:
        entries: list[Entry] = []
        with self._lock:
            self._layer._check_open()
            backlog = self._layer._backlog
            while len(entries) < limit:
                entry = backlog.take(self._queues, time.monotonic())
                if entry is None:
                    break
                backlog.finish(entry)
                entries.append(entry)
            self._armed = not entries
        return [(_receivers(entry), wire.decode(entry.payload)) for entry in entries]

    def credit(self, reply_channel: str, count: int = 1) -> None:
        with self._lock:
            self._layer._backlog.queue(reply_channel).release(reply_channel, count)

    def left(self, channel: str) -> None:
        with self._lock:
            self._layer._presences.leave(channel, self._layer._groups)

    def connecting(self, reply_channel: str) -> bool:
        # Nothing but its connect is in a connection's lane before it is accepted.
        with self._lock:
            return self._layer._backlog.has_lane(reply_channel)

    def connected(self) -> list[str]:
        """The reply channels whose disconnect is still to come; the layer asks under its lock."""
        return [*self._disconnects]

    def listens(self, channel: str) -> bool:
        """Whether anybody in this process ever leased from it: workers of this layer end together with it."""
        return channel in self._layer._heard

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            layer = self._layer
            for prefix in self._queues:
                layer._ports.pop(prefix, None)
                layer._closed_prefixes.add(prefix)
                layer._backlog.drop_queue(prefix)
            for group in [*layer._groups]:
                members = layer._groups[group]
                for channel in [channel for channel in members if names.local_prefix(channel) in self._queues]:
                    layer.group_discard(group, channel)
            for reply_channel, disconnect in [*self._disconnects.items()]:
                self.disconnect(reply_channel, int(disconnect["code"]))

    def ring(self) -> None:
        """Tell the front that there is something to drain, once; the layer calls it under its lock."""
        if self._armed and self._callback is not None:
            self._armed = False
            self._callback()


def _receivers(entry: Entry) -> list[str]:
    return [entry.channel] if entry.receivers is None else entry.receivers


def _after(message: Message, disconnect: Message) -> int:
    order = message.get("order")
    return order + 1 if isinstance(order, int) else int(disconnect.get("order", 0)) + 1
