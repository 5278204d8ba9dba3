"""
The glue between one socket and its protocol: reads, writes, timers, and back-pressure both ways.

Owns the transport. Decides nothing about HTTP or WebSockets: the protocol says what to write, when to stop reading, what it waits
for and when it is over; exchanges and sessions say what that means to the application. Runs in the front.
"""

import asyncio
import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

from shmchan.exceptions import ChannelFull, LayerError, MessageTooLarge
from shmchan.front.files import FileExchange
from shmchan.front.request import HTTPExchange
from shmchan.front.session import WebSocketSession
from shmchan.protocol.handshake import BadHandshake, check_request
from shmchan.protocol.http import (
    BodyReceived,
    Disconnected,
    HTTPConnection,
    RequestHead,
    RequestReceived,
    UpgradeReceived,
)
from shmchan.protocol.websocket import Closed, WebSocketConnection
from shmchan.security.origin import origin_allowed, refusal

if TYPE_CHECKING:
    from shmchan.front.bridge import Bridge
    from shmchan.front.server import Front

logger = logging.getLogger("shmchan.front")

HIGH_WATER = 256 << 10
LOW_WATER = 64 << 10

Exchange = HTTPExchange | WebSocketSession | FileExchange


class Connection(asyncio.Protocol):
    """
    One client.

    Attributes:
        http: its HTTP side, which a WebSocket takes over from.
        client, server: ``[host, port]``, or None on a Unix socket.
    """

    def __init__(self, front: "Front") -> None:
        self.bridge: Bridge = front.bridge
        self._front = front
        self._loop = front.loop
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.http = HTTPConnection(now=self._loop.time(), limits=front.limits, date=front.date)
        self._protocol: HTTPConnection | WebSocketConnection = self.http
        self._exchange: Exchange | None = None
        self._unpaid: dict[str, int] = {}
        self._switched = False  # to a WebSocket, and not updated since
        self._reading = True
        self._grace = 0.0
        self._blocked = False  # the client does not take what we write
        self._written = 0
        self._taken = 0
        self._write_deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._eof_sent = False
        self._closing = False
        self._lost = False
        self.client: list[Any] | None = None
        self.server: list[Any] | None = None

    # asyncio calls these ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        self.bridge.connections.add(self)
        self.bridge.counters.add("connections")
        if self._front.stopping:
            self.shut_down()
        else:
            self._arm_timer()

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        self._protocol.receive_data(data, now)
        self.update(now)

    def eof_received(self) -> bool:
        now = self._loop.time()
        self._protocol.receive_eof(now)
        self.update(now)
        return False

    def pause_writing(self) -> None:
        self._blocked = True
        self._taken = self._written - self._transport.get_write_buffer_size()
        now = self._loop.time()
        self._write_deadline = now + self.bridge.config.write_timeout
        self.update(now)

    def resume_writing(self) -> None:
        self._blocked = False
        self._write_deadline = None
        if self._unpaid:
            self.bridge.touch(self)
        self.update(self._loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        now = self._loop.time()
        self._lost = True
        self._blocked = False
        self._protocol.receive_eof(now)
        self._publish(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.bridge.connections.discard(self)
        try:
            self.pay()
        except LayerError as error:
            self.bridge.fail(error)
        self._front.connection_gone()

    # For exchanges and sessions ---------------------------------------------------------------------------------------------

    def path_of(self, head: RequestHead) -> str:
        """The path as the application sees it: below the root path, whether the proxy in front cut that off or not."""
        root = self.bridge.config.root_path
        if not root or head.path == root or head.path.startswith(root + "/") or head.path == "*":
            return head.path
        return root + head.path

    def switch(self, socket: WebSocketConnection, response: bytes) -> None:
        """The handshake was accepted: say so, and speak the other protocol from here on."""
        self._write(response)
        self._protocol = socket
        self._switched = True

    def exchange_over(self, exchange: Exchange) -> None:
        """The exchange came to its end; nothing is to be told to it any more."""
        if self._exchange is exchange:
            self._exchange = None

    @property
    def drained(self) -> bool:
        """Whether everything that was written so far is in the kernel."""
        return not self.http.has_data and self._transport.get_write_buffer_size() == 0

    def fileno(self) -> int:
        """The descriptor of the socket. Whoever keeps it duplicates it; whoever writes to it does so while we are `drained`."""
        descriptor: int = self._transport.get_extra_info("socket").fileno()
        return descriptor

    def owe(self, reply_channel: str) -> None:
        """One message of this channel is in our hands until the socket took its bytes."""
        self._unpaid[reply_channel] = self._unpaid.get(reply_channel, 0) + 1

    def pay(self) -> None:
        """Return the credit of what the socket took. Held messages of a handshake, and a client that takes nothing, keep it."""
        if not self._unpaid or self._blocked:
            return
        exchange = self._exchange
        if exchange is not None and exchange.holding and not self._lost:
            return
        credit = self.bridge.port.credit
        for reply_channel, count in self._unpaid.items():
            credit(reply_channel, count)
        self._unpaid.clear()

    def update(self, now: float) -> None:
        """Do what the protocol wants now: tell what happened, write, read on or not, wait, end."""
        if self._lost:
            return
        self._publish(now)
        protocol = self._protocol
        data = protocol.data_to_send()
        if data:
            self._write(data)
        if protocol is self.http and self.http.wants_reset:
            self._reset()
            return
        if protocol.finished:
            self._end()
        elif protocol is self.http and self.http.wants_eof and not self._eof_sent:
            self._eof_sent = True
            if self._transport.can_write_eof():
                self._transport.write_eof()
        exchange = self._exchange
        reading = not self._blocked and (exchange is None or not exchange.stalled)
        if reading and protocol is self.http:
            reading = self.http.wants_data
        if reading is not self._reading and not self._closing:
            self._reading = reading
            if reading:
                self._grace = now + self.bridge.config.ping_timeout
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
        self._arm_timer()

    def flush(self, now: float) -> None:
        """As `update` after messages of the application; an open WebSocket has nothing else to do then than to write."""
        exchange = self._exchange
        if self._switched or type(exchange) is not WebSocketSession or not exchange.open:
            self._switched = False
            self.update(now)
            return
        data = self._protocol.data_to_send()
        if data:
            self._write(data)

    def shut_down(self) -> None:
        """The front stops: finish what runs, and begin nothing."""
        now = self._loop.time()
        if self._protocol is self.http:
            self.http.shut_down(now)
        if self._exchange is not None:
            try:
                self._exchange.shut_down()
            except LayerError as error:
                self.bridge.fail(error)
        self.update(now)

    @property
    def is_waiting(self) -> bool:
        """Whether a request of its client waits for the first message of its answer."""
        return isinstance(self._exchange, HTTPExchange) and self._exchange.is_waiting

    def refuse_put_back(self) -> None:
        """The front stops, and the message of this request was put back for later."""
        if isinstance(self._exchange, HTTPExchange):
            self._exchange.refuse_put_back()
            self.update(self._loop.time())

    def abort(self) -> None:
        """Cut the client off."""
        self._transport.abort()

    # ------------------------------------------------------------------------------------------------------------------------

    def _publish(self, now: float) -> None:
        """Pass on what the protocol found, until it finds nothing more: an answer of ours may let it go on with what waits."""
        try:
            while events := self._protocol.events():
                for event in events:
                    exchange = self._exchange
                    if isinstance(exchange, WebSocketSession):
                        if isinstance(event, Closed):
                            exchange.closed(event)
                        elif isinstance(event, Disconnected):
                            exchange.abandoned()
                        elif not isinstance(event, (RequestReceived, BodyReceived, UpgradeReceived)):
                            exchange.received(event, now)
                    elif isinstance(event, RequestReceived):
                        place = self._front.static.find(self.path_of(event.head))
                        if place is None:
                            self._begin(HTTPExchange(self, self.http, event, now))
                        else:
                            self._begin(FileExchange(self, self.http, event, place, now))
                    elif isinstance(event, UpgradeReceived):
                        self._begin_session(event.head, now)
                    elif exchange is not None:
                        if isinstance(event, BodyReceived):
                            exchange.body(event, now)
                        elif isinstance(event, Disconnected):
                            exchange.abandoned()
        except LayerError as error:
            self.bridge.fail(error)
        refusal = self.http.refusal
        if refusal is not None:
            self.http.refusal = None
            self.bridge.counters.add("refused.malformed")
            logger.info("%s: refused with %d: %s", self._who(), refusal.status, refusal)

    def _begin(self, exchange: Exchange) -> None:
        if exchange.waits:
            self._exchange = exchange

    def _begin_session(self, head: RequestHead, now: float) -> None:
        bridge = self.bridge
        target = head.target.decode("ascii")
        try:
            handshake = check_request([(name, value) for name, value in head.headers], method=head.method)
        except BadHandshake as error:
            bridge.counters.add("refused.handshake")
            self._refuse(target, error.status, error.headers, error.text, now)
            return
        if not origin_allowed(head.headers, bridge.config.allowed_hosts):
            bridge.problem("refused.origin", f"WebSocket {target:.200}", refusal(head.headers, bridge.config.allowed_hosts))
            self._refuse(target, 403, [], "this origin may not connect here\n", now)
            return
        try:
            self._begin(WebSocketSession(self, head, handshake, now))
        except ChannelFull:
            bridge.counters.add("refused.full")
            bridge.port.dropped("websocket.connect")
            self._refuse(target, 503, [], "too many connect at the moment; try again later\n", now)
        except MessageTooLarge as error:
            bridge.problem("refused.malformed", f"WebSocket {target:.200}", f"refused: {error}")
            self._refuse(target, 431, [], "the headers are too long\n", now)

    def _refuse(self, target: str, status: int, headers: list[tuple[bytes, bytes]], text: str, now: float) -> None:
        plain = (b"content-type", b"text/plain; charset=utf-8")
        self.http.send_response(status, [*headers, plain, (b"connection", b"close")], text.encode(), now=now)
        self.bridge.access(self.client, f"WEBSOCKET {target}", status, len(text), now)

    def _write(self, data: bytes) -> None:
        if self._closing or self._lost:
            return
        self._transport.write(data)
        self._written += len(data)
        if self._blocked and self._transport.get_write_buffer_size() > self.bridge.config.max_buffered:
            self.bridge.problem("cut.buffered", self._who(), f"cut off, it left {self.bridge.config.max_buffered} bytes unread")
            self.abort()

    def _end(self) -> None:
        """The protocol is through. What was written still goes out, watched by the write timeout."""
        if self._closing:
            return
        self._closing = True
        if isinstance(self._protocol, WebSocketConnection) and self._protocol.lost:
            self.abort()
            return
        self._taken = self._written - self._transport.get_write_buffer_size()
        self._write_deadline = self._loop.time() + self.bridge.config.write_timeout
        self._transport.close()

    def _reset(self) -> None:
        """End it so that the client sees an error, and no end of what it was sent."""
        if not self._closing:
            self._closing = True
            try:
                with socket.socket(fileno=os.dup(self.fileno())) as own:
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError as error:
                logger.warning("%s cannot be told that its response is not whole: %s", self._who(), error.strerror)
            self.abort()

    def _arm_timer(self) -> None:
        """Have one timer for the earliest deadline. A deadline that moved back finds the old timer, which then arms a new one."""
        deadline = self._next_deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _next_deadline(self) -> float | None:
        deadline = self._write_deadline
        if not self._closing:
            own = self._protocol.next_deadline()
            if own is not None:
                if self._protocol is not self.http:
                    # Who is not read cannot show that it lives. Its silence counts only from when it is read again.
                    own = max(own, self._grace) if self._reading else None
                if own is not None and (deadline is None or own < deadline):
                    deadline = own
            exchange = self._exchange
            if exchange is not None and exchange.deadline is not None and (deadline is None or exchange.deadline < deadline):
                deadline = exchange.deadline
        return deadline

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._write_deadline is not None and now >= self._write_deadline:
            taken = self._written - self._transport.get_write_buffer_size()
            if taken == self._taken:
                self.bridge.problem(
                    "timeout.write", self._who(), f"cut off, it took nothing for {self.bridge.config.write_timeout:g} s"
                )
                self.abort()
                return
            self._taken = taken
            self._write_deadline = now + self.bridge.config.write_timeout
        if not self._closing:
            try:
                if self._protocol is self.http or (self._reading and now >= self._grace):
                    self._protocol.handle_timeout(now)
                if self._exchange is not None:
                    self._exchange.handle_timeout(now)
            except LayerError as error:
                self.bridge.fail(error)
        self.update(now)

    def _who(self) -> str:
        return f"{self.client[0]}:{self.client[1]}" if self.client else "a client on the Unix socket"


def _address(name: Any) -> list[Any] | None:
    return [name[0], name[1]] if isinstance(name, tuple) and len(name) >= 2 else None
