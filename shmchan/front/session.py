"""
One WebSocket on its way through the application: the handshake that waits for a word, the messages both ways, and the one
``websocket.disconnect`` that ends it.

Owns who may say what when: see TRANSITIONS. Never touches a socket; the connection does. Runs in the front.
"""

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from shmchan.exceptions import ChannelFull, MessageTooLarge
from shmchan.front.answers import Answer, read_answer
from shmchan.protocol.deflate import negotiate
from shmchan.protocol.handshake import Handshake, accept_response, choose_subprotocol
from shmchan.protocol.http import BadResponse, RequestHead
from shmchan.protocol.response import check_headers
from shmchan.protocol.websocket import BytesReceived, Closed, TextReceived, WebSocketConnection

if TYPE_CHECKING:
    from shmchan.front.connection import Connection

logger = logging.getLogger("shmchan.front")

# A channel that is full for a moment is no reason to stop reading, which costs two system calls; these are.
PATIENCE_MESSAGES = 16
PATIENCE_SECONDS = 0.02

WAITING, OPEN, CLOSING, OVER = "WAITING", "OPEN", "CLOSING", "OVER"

TRANSITIONS = {
    (WAITING, "accept"): OPEN,
    (WAITING, "reject"): OVER,  # the application, or a time limit
    (WAITING, "lost"): OVER,  # the client
    (OPEN, "close"): CLOSING,  # we said so; what the application still sends is dropped
    (OPEN, "closed"): OVER,
    (CLOSING, "closed"): OVER,
}


class WebSocketSession:
    """
    A WebSocket whose ``websocket.connect`` was sent.

    Attributes:
        socket: the protocol, once it was accepted.
        stalled: messages of the client find no room, so the socket should not be read.
        deadline: when `handle_timeout` has something to do.
    """

    __slots__ = (
        "_backlog",
        "_bridge",
        "_connection",
        "_end_code",
        "_handshake",
        "_held",
        "_order",
        "_over_seen",
        "_path",
        "_pressed",
        "_stalled_since",
        "_started",
        "_state",
        "_target",
        "deadline",
        "reply_channel",
        "socket",
    )

    def __init__(self, connection: "Connection", head: RequestHead, handshake: Handshake, now: float) -> None:
        bridge = connection.bridge
        self._connection = connection
        self._bridge = bridge
        self._handshake = handshake
        self._path = connection.path_of(head)
        self._target = head.target.decode("ascii")
        self._state = WAITING
        self._order = 0
        self._started = now
        self._held: list[dict[str, Any]] = []
        self._over_seen = False
        self._backlog: deque[dict[str, Any]] = deque()
        self._stalled_since = 0.0
        self._pressed = False
        self._end_code: int | None = None
        self.deadline: float | None = now + bridge.config.handshake_timeout
        self.socket: WebSocketConnection | None = None
        self.reply_channel = bridge.port.new_reply_channel("websocket")
        message = {
            "reply_channel": self.reply_channel,
            "scheme": "ws",
            "path": self._path,
            "query_string": head.query_string,
            "root_path": bridge.config.root_path,
            "headers": head.headers,
            "client": connection.client,
            "server": connection.server,
            "order": 0,
        }
        end = {"reply_channel": self.reply_channel, "code": 1006, "path": self._path, "order": 1}
        bridge.port.connect(self.reply_channel, message, end)
        bridge.counters.add("websockets")
        bridge.register(self.reply_channel, self)

    @property
    def connection(self) -> "Connection":
        return self._connection

    @property
    def stalled(self) -> bool:
        return self._pressed and self._state is OPEN

    @property
    def waits(self) -> bool:
        """Whether the handshake is undecided."""
        return self._state is WAITING

    # From the application ---------------------------------------------------------------------------------------------------

    def deliver(self, message: dict[str, Any], group: bool) -> None:
        """Take one message that was sent to the reply channel."""
        if self._state is WAITING:
            if group:
                self._held.append(message)
                self._bridge.hold(self)
                return
            self._decide(read_answer(message))
        elif self._state is OPEN:
            text = message.get("text")
            if type(text) is str and len(message) == 1:  # the usual case, without detours
                assert self.socket is not None
                self._count(self.socket.send_text(text))
                return
            answer = read_answer(message)
            self._tell(answer)
            self._send(answer)
        else:
            self._bridge.counters.add("dropped.gone")

    def deliver_shared(self, answer: Answer) -> None:
        """Take a group's message that others get too; the socket is open, so nobody has to read it again."""
        assert self.socket is not None
        for frame in answer.prepared():
            self._count(self.socket.send_frame(frame))
        if answer.close is not None:
            self._close(answer.close, answer.reason)

    @property
    def open(self) -> bool:
        return self._state is OPEN

    @property
    def holding(self) -> bool:
        """Whether messages wait for the end of the connect consumer."""
        return bool(self._held)

    @property
    def over_seen(self) -> bool:
        """Whether the connect consumer was seen to be over, so that one more look decides."""
        return self._over_seen and self._state is WAITING

    def connect_is_over(self) -> bool:
        """
        Look whether the connect consumer is done and did not answer itself; then what a group sent decides.

        Asked twice, with an empty queue between: what the consumer sent in its last moment is drained by then.

        Returns:
            whether there is nothing left to look for.
        """
        if self._state is not WAITING:
            return True
        if self._bridge.port.connecting(self.reply_channel):
            return False
        if not self._over_seen:
            self._over_seen = True
            return False
        held, self._held = self._held, []
        for message in held:
            self._apply(message)
        return True

    def _apply(self, message: dict[str, Any]) -> None:
        """A message that waited."""
        if self._state is OVER or self._state is CLOSING:
            self._bridge.counters.add("dropped.gone")
            return
        answer = read_answer(message, group=True)
        if self._state is WAITING:
            self._decide(answer)
        else:
            self._tell(answer)
            self._send(answer)

    def _decide(self, answer: Answer) -> None:
        self._tell(answer)
        if answer.accept is False:
            self._reject(answer.status or 403, answer)
        elif answer.accept or answer.has_data:
            if self._accept(answer):
                held, self._held = self._held, []
                for message in held:  # they were sent before
                    self._apply(message)
                self._send(answer)
        elif answer.close is not None:
            self._reject(answer.status or 403, answer)
        else:
            self._bridge.problem(
                "ignored.undecided", self._where(), "the answer neither accepts nor rejects; the handshake still waits"
            )

    def _accept(self, answer: Answer) -> bool:
        config = self._bridge.config
        http = self._connection.http
        deflate = negotiate(self._handshake.extensions) if config.ws_compression else None
        try:
            headers = check_headers(answer.headers)
            subprotocol = answer.subprotocol
            if subprotocol is None:
                subprotocol = choose_subprotocol(self._handshake, config.ws_protocols)
            response = accept_response(self._handshake, subprotocol, headers, deflate)
        except (BadResponse, ValueError) as error:
            logger.error("the handshake of %s is answered with 500: %s", self._where(), error)
            self._bridge.counters.add("bad.response")
            self._reject(500, Answer())
            return False
        self._move("accept")
        now = self._bridge.now()
        self.socket = WebSocketConnection(
            now=now,
            max_size=config.ws_max_size,
            ping_interval=config.ping_interval,
            ping_timeout=config.ping_timeout,
            deflate=deflate,
        )
        limit = config.websocket_timeout
        self.deadline = self._started + (self._bridge.layer.group_expiry if limit is None else limit)
        self._log(101, 0)
        rest = http.upgraded()
        self._connection.switch(self.socket, response)
        if rest:
            self.socket.receive_data(rest, now)
        return True

    def _reject(self, status: int, answer: Answer) -> None:
        http = self._connection.http
        try:
            headers: list[Any] = [(b"content-type", b"text/plain; charset=utf-8")] if not answer.headers else list(answer.headers)
            headers.append((b"connection", b"close"))
            content = f"{status}\n".encode() if answer.content is None else answer.content
            http.send_response(status, headers, content, now=self._bridge.now())
        except (BadResponse, TypeError) as error:
            logger.error("the handshake of %s is answered with 500: %s", self._where(), error)
            self._bridge.counters.add("bad.response")
            http.send_error(500, now=self._bridge.now())
        self._log(http.status, http.sent_bytes)
        self._end("reject", answer.close or 1006)

    def _send(self, answer: Answer) -> None:
        if self._state is not OPEN:
            if answer.frames:
                self._bridge.counters.add("dropped.gone")
            return
        socket = self.socket
        assert socket is not None
        for frame in answer.frames:
            self._count(socket.send_text(frame) if isinstance(frame, str) else socket.send_bytes(frame))
        if answer.close is not None:
            self._close(answer.close, answer.reason)

    def _count(self, sent: bool) -> None:
        self._bridge.counters.add("sent" if sent else "dropped.gone")

    def _tell(self, answer: Answer) -> None:
        for counter, text in answer.problems:
            self._bridge.problem(counter, self._where(), text)

    # From the client --------------------------------------------------------------------------------------------------------

    def received(self, event: TextReceived | BytesReceived, now: float) -> None:
        """Pass on a message of the client, or keep it until there is room."""
        if self._state is not OPEN:
            self._bridge.counters.add("dropped.receive")  # it crossed our close
            return
        self._order += 1
        message: dict[str, Any] = {"reply_channel": self.reply_channel, "path": self._path, "order": self._order}
        if type(event) is TextReceived:
            message["text"] = event.text
        elif type(event) is BytesReceived:
            message["bytes"] = event.data
        if self._backlog:
            self._backlog.append(message)
            self._pressed = self._pressed or len(self._backlog) >= PATIENCE_MESSAGES
        elif self._bridge.receive_full or not self._pass_on(message):
            self._stalled_since = now
            self._backlog.append(message)
            self._bridge.retry_later(self)

    def retry(self, now: float) -> bool:
        """Try again to pass on what the client sent. Returns whether that is settled."""
        backlog = self._backlog
        while backlog:
            if self._bridge.receive_full or not self._pass_on(backlog[0]):
                if not self._pressed and now - self._stalled_since > PATIENCE_SECONDS:
                    self._pressed = True
                    self._connection.update(now)
                if now - self._stalled_since < self._bridge.config.receive_timeout:
                    return False
                logger.warning(
                    "websocket.receive was full for %g s; %s is closed with 1013",
                    self._bridge.config.receive_timeout,
                    self._where(),
                )
                self._bridge.counters.add("timeout.receive")
                self._bridge.counters.add("dropped.receive", len(backlog))
                self._bridge.port.dropped("websocket.receive", len(backlog))
                backlog.clear()
                self._close(1013, "try again later")
                self._pressed = True
                break
            backlog.popleft()
            self._stalled_since = now
        if self._end_code is not None:
            self._disconnect(self._end_code)
        if self._pressed:
            self._pressed = False
            self._connection.update(now)
        return True

    def closed(self, event: Closed) -> None:
        """The protocol came to its end."""
        if self.socket is not None and self.socket.ignored_messages:
            self._bridge.counters.add("dropped.receive", self.socket.ignored_messages)
        self._log(event.code, 0)
        self._end("closed", event.code)

    def abandoned(self) -> None:
        """The client left before anybody decided."""
        if self._state is WAITING:
            self._log(499, 0)
            self._end("lost", 1006)

    def shut_down(self) -> None:
        """The front stops."""
        if self._state is WAITING:
            self._bridge.counters.add("refused.stopping")
            self._reject(503, Answer())
        elif self._state is OPEN:
            self._close(1012, "the service restarts")

    def handle_timeout(self, now: float) -> None:
        """The handshake, or the socket's life, has lasted long enough."""
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = None
        if self._state is WAITING:
            logger.warning(
                "nobody answered the handshake of %s within %g s: 504", self._where(), self._bridge.config.handshake_timeout
            )
            self._bridge.counters.add("timeout.handshake")
            self._reject(504, Answer())
        elif self._state is OPEN:
            self._bridge.counters.add("timeout.websocket")
            self._close(1001, "this connection has reached its age limit")

    # ------------------------------------------------------------------------------------------------------------------------

    def _pass_on(self, message: dict[str, Any]) -> bool:
        try:
            self._bridge.port.receive(self.reply_channel, message)
        except ChannelFull:
            self._bridge.receive_full = True
            return False
        except MessageTooLarge as error:
            logger.warning("%s is closed with 1009: %s", self._where(), error)
            self._bridge.counters.add("dropped.receive")
            self._close(1009, "message too big")
            return True
        self._bridge.counters.add("received")
        return True

    def _close(self, code: int, reason: str) -> None:
        if self._state is OPEN and self.socket is not None:
            self._move("close")
            self.socket.close(code, reason, now=self._bridge.now())

    def _end(self, event: str, code: int) -> None:
        self._move(event)
        self.deadline = None
        if self._held:
            self._bridge.counters.add("dropped.rejected", len(self._held))
            self._held.clear()
        self._bridge.forget(self.reply_channel)
        if self._backlog:
            self._end_code = code  # the client's last messages come before its disconnect
        else:
            self._disconnect(code)
        self._connection.exchange_over(self)

    def _disconnect(self, code: int) -> None:
        self._end_code = None
        self._bridge.port.disconnect(self.reply_channel, code)

    def _move(self, event: str) -> None:
        try:
            self._state = TRANSITIONS[self._state, event]
        except KeyError:
            raise RuntimeError(f"{event!r} cannot happen while it is {self._state}") from None

    def _log(self, status: int, size: int) -> None:
        self._bridge.access(self._connection.client, f"WEBSOCKET {self._target}", status, size, self._started)

    def _where(self) -> str:
        return f"WebSocket {self._target:.200}"
