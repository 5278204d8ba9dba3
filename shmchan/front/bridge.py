"""
The bridge between a front's connections and its port: who waits behind which reply channel, and what is to be tried again.

Owns the port, the table of reply channels, the pump that takes messages out of the layer in batches, and the retries of what
found no room. Never parses bytes and never touches a socket: it hands messages to exchanges and sessions, and tells their
connections to write once per batch. Runs in the front, on its loop's thread.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from shmchan.exceptions import ChannelFull, LayerError
from shmchan.front.answers import Answer, closed_channel, read_answer
from shmchan.front.config import FrontConfig
from shmchan.front.connection import Connection
from shmchan.front.counters import NAMES, Counters
from shmchan.front.events import Event, read_event
from shmchan.front.request import HTTPExchange
from shmchan.front.session import WebSocketSession
from shmchan.layers.base import BaseChannelLayer, GroupReceivers, Port

logger = logging.getLogger("shmchan.front")
access_logger = logging.getLogger("shmchan.access")

BATCH = 64
RETRY_SECONDS = 0.005  # when no answer of the application comes, which is a better moment


class Receiver(Protocol):
    """Who waits behind a reply channel."""

    @property
    def connection(self) -> Connection: ...

    def deliver(self, message: dict[str, Any], group: bool, /) -> None: ...


class Retrying(Protocol):
    """Who found a channel full. ``retry`` says whether it is settled."""

    def retry(self, now: float, /) -> bool: ...


class Bridge:
    """
    One front's way to the layer and back.

    Args:
        layer: where messages go.
        loop: whose thread this runs on.
        config: the options.
        failed: called once, with what makes going on impossible.

    Attributes:
        port, layer, config, counters: for exchanges and sessions.
        connections: those that are open.
        receive_full: websocket.receive was full when it was tried last, so that whoever comes now has to queue up too.
    """

    def __init__(
        self,
        layer: BaseChannelLayer,
        loop: asyncio.AbstractEventLoop,
        config: FrontConfig,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.layer = layer
        self.loop = loop
        self.config = config
        self.connections: set[Connection] = set()
        self.receive_full = False
        self.now = loop.time
        self.port: Port = layer.open_port()
        self.counters = Counters(self.port.counts(NAMES))
        self._failed = failed
        self._receivers: dict[str, Receiver] = {}
        self._touched: set[Connection] = set()
        self._holding: set[WebSocketSession] = set()
        self._retrying: dict[Retrying, None] = {}
        self._retry_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._closed = False
        self._fd = self.port.fileno()
        if self._fd is None:
            self.port.on_ready(lambda: loop.call_soon_threadsafe(self._bell))
        else:
            loop.add_reader(self._fd, self._bell)
        self._tick()

    # The table --------------------------------------------------------------------------------------------------------------

    def register(self, reply_channel: str, receiver: Receiver) -> None:
        """Messages to this channel go there from now on."""
        self._receivers[reply_channel] = receiver

    def forget(self, reply_channel: str) -> None:
        """Messages to this channel are dropped from now on, and counted."""
        self._receivers.pop(reply_channel, None)
        self.port.left(reply_channel)

    def hold(self, session: WebSocketSession) -> None:
        """A group's message waits for the end of this session's connect consumer."""
        self._holding.add(session)

    # The pump ---------------------------------------------------------------------------------------------------------------

    def _bell(self) -> None:
        if not self._pumping:
            self._pump()

    def _pump(self) -> None:
        """
        Take one batch, hand it out, write once to each connection, and come back at once for the next.

        Sockets are read between two batches, so that neither direction starves the other. The written bytes are in the kernel, or
        their connection is paused, when the loop comes back here: then their credit is returned.
        """
        self._pumping = False
        if self._closed:
            return
        try:
            self._settle()
            batch = self.port.drain(BATCH)
            for receivers, message in batch:
                self._hand_out(receivers, message)
            if batch and self._retrying:
                self._try_again(everyone=False)  # who answers has made room
            if self._touched:
                now = self.loop.time()
                for connection in [*self._touched]:
                    self._flush(connection, now)
            if not batch and self._holding:
                self._look_at_held()
        except LayerError as error:
            self.fail(error)
            return
        if batch or self._touched:
            self._pumping = True
            self.loop.call_soon(self._pump)

    def _hand_out(self, receivers: list[str], message: dict[str, Any]) -> None:
        group = receivers.group if isinstance(receivers, GroupReceivers) else None
        shared: Answer | None = None
        event: Event | None = None
        for channel in receivers:
            receiver = self._receivers.get(channel)
            if receiver is None:
                self.counters.add("dropped.gone")
                self.port.credit(channel)
                if group is not None:
                    self.port.left(channel)  # it was added after its client had gone
                if "closed_channel" in message:
                    self._turn_away(channel, message)
                continue
            connection = receiver.connection
            connection.owe(channel)
            self._touched.add(connection)
            try:
                if group is not None and isinstance(receiver, WebSocketSession) and receiver.open:
                    if shared is None:
                        shared = read_answer(message, group=True)
                        for counter, text in shared.problems:
                            self.problem(counter, f"group {group}", text)
                    receiver.deliver_shared(shared)
                elif group is not None and isinstance(receiver, HTTPExchange) and receiver.streams_events:
                    if event is None:
                        event = read_event(message, group=True)
                        for counter, text in event.problems:
                            self.problem(counter, f"group {group}", text)
                    receiver.deliver_event(event)
                else:
                    receiver.deliver(message, group is not None)
            except LayerError:
                raise
            except Exception:
                logger.exception("a message to %s is dropped; this is a bug in shmchan, please report it", channel)
                self.counters.add("errors")

    def _turn_away(self, channel: str, message: dict[str, Any]) -> None:
        """A response begins for who is no longer there: its sender asked to be told."""
        problems: list[tuple[str, str]] = []
        waiting = closed_channel(message, problems)
        for counter, text in problems:
            self.problem(counter, channel, text)
        if waiting is not None:
            self.tell_closed(waiting)

    def _flush(self, connection: Connection, now: float) -> None:
        try:
            connection.flush(now)
        except LayerError:
            raise
        except Exception:
            logger.exception("a connection is cut off; this is a bug in shmchan, please report it")
            self.counters.add("errors")
            connection.abort()

    def _settle(self) -> None:
        touched, self._touched = self._touched, set()
        for connection in touched:
            connection.pay()

    def touch(self, connection: Connection) -> None:
        """Come back to this connection: it has credit to return."""
        self._touched.add(connection)
        if not self._pumping:
            self._pumping = True
            self.loop.call_soon(self._pump)

    def _look_at_held(self) -> None:
        before = len(self._holding)
        over = [session for session in self._holding if session.connect_is_over()]
        self._holding.difference_update(over)
        now = self.loop.time()
        for session in over:
            self.touch(session.connection)
            self._flush(session.connection, now)
        if before and not self._pumping and any(session.over_seen for session in self._holding):
            self._pumping = True
            self.loop.call_soon(self._pump)

    def _tick(self) -> None:
        """A bell may be lost with the process that was to ring it."""
        self._tick_timer = self.loop.call_later(self.config.tick, self._tick)
        self._bell()

    # Trying again -----------------------------------------------------------------------------------------------------------

    def retry_later(self, thing: Retrying) -> None:
        """Have ``thing.retry`` called until it is settled."""
        self._retrying[thing] = None
        if self._retry_timer is None:
            self._retry_timer = self.loop.call_later(RETRY_SECONDS, self._retry)

    def send_later(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message that has nobody else to care for it: now, or when there is room, for as long as a receive is tried."""
        errand = _Errand(self, channel, message)
        if not errand.retry(self.now()):
            self.retry_later(errand)

    def tell_closed(self, channel: str) -> None:
        """Tell whoever reads a body's channel, or waits on the closed_channel of a response, that the client has left."""
        self.send_later(channel, {"content": b"", "more_content": False, "closed": True})

    @property
    def busy(self) -> bool:
        """Whether something still has to be sent to the layer."""
        return bool(self._retrying)

    def _retry(self) -> None:
        self._retry_timer = None
        try:
            self._try_again(everyone=True)
        except LayerError as error:
            self.fail(error)
            return
        if self._retrying and self._retry_timer is None and not self._closed:
            self._retry_timer = self.loop.call_later(RETRY_SECONDS, self._retry)

    def _try_again(self, everyone: bool) -> None:
        """One round, or until the first that finds websocket.receive full. It goes to the end, so that everybody's turn comes."""
        now = self.loop.time()
        self.receive_full = False
        for thing in [*self._retrying]:
            passed_over = self.receive_full
            if thing.retry(now):
                self._retrying.pop(thing, None)
            elif not passed_over:
                self._retrying[thing] = self._retrying.pop(thing)
                if self.receive_full and not everyone:
                    return

    # For all ----------------------------------------------------------------------------------------------------------------

    def problem(self, counter: str, where: str, text: str) -> None:
        """Count and log something that is left out."""
        self.counters.add(counter)
        logger.warning("%s: %s", where, text)

    def access(self, client: list[Any] | None, what: str, status: int, size: int, started: float) -> None:
        """One line of the access log."""
        if self.config.access_log and access_logger.isEnabledFor(logging.INFO):
            who = f"{client[0]}:{client[1]}" if client else "unix"
            milliseconds = (self.loop.time() - started) * 1000
            access_logger.info('%s "%s" %d %d %.1fms', who, what, status, size, milliseconds)

    def fail(self, error: BaseException) -> None:
        """The layer cannot be used any more."""
        if not self._closed:
            self._failed(error)

    def close(self) -> None:
        """Give the port back; what it still owed is sent by the layer."""
        if self._closed:
            return
        self._closed = True
        if self._fd is None:
            self.port.on_ready(None)
        else:
            self.loop.remove_reader(self._fd)
        for timer in (self._tick_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self.port.close()


class _Errand:
    """A message that is sent when there is room."""

    __slots__ = ("_bridge", "_channel", "_deadline", "_message")

    def __init__(self, bridge: Bridge, channel: str, message: dict[str, Any]) -> None:
        self._bridge = bridge
        self._channel = channel
        self._message = message
        self._deadline = bridge.now() + bridge.config.receive_timeout

    def retry(self, now: float) -> bool:
        try:
            self._bridge.port.send(self._channel, self._message)
        except ChannelFull:
            if now < self._deadline:
                return False
            self._bridge.problem("dropped.receive", self._channel, "stayed full, the end of the body is dropped")
            self._bridge.port.dropped(self._channel)
        return True
