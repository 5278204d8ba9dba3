"""
One WebSocket connection after its handshake, server side: bytes and ``now`` in, events and bytes out (RFC 6455, RFC 7692).

Owns the connection's state, its keep-alive and its closing handshake, and the messages under way. It never sees sockets, event
loops, clocks or shared memory; ``now`` is seconds on any clock that never goes back. The front runs it, one for each socket.

How it is driven::

    connection.receive_data(data, now)         # or receive_eof(now), handle_timeout(now), send_text(...), close(...)
    transport.write(connection.data_to_send())
    for event in connection.events(): ...
    loop.call_at(connection.next_deadline(), ...)
    if connection.finished: transport.close()  # or abort(), if connection.lost
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from shmchan.protocol import frames
from shmchan.protocol.deflate import BadDeflate, Deflate, DeflateTooLarge
from shmchan.protocol.frames import (
    BINARY,
    CLOSE,
    COMPRESSED,
    END,
    FAILED,
    FAILURES,
    MAX_CONTROL,
    OPCODE,
    PING,
    PONG,
    TEXT,
    WHOLE_BINARY,
    WHOLE_TEXT,
    encode_frame,
    frame_bytes,
    frame_text,
)

__all__ = [
    "TRANSITIONS",
    "BytesReceived",
    "Closed",
    "Event",
    "Input",
    "State",
    "TextReceived",
    "WebSocketConnection",
    "frame_bytes",
    "frame_text",
    "is_sendable_code",
]


@dataclass(slots=True)
class TextReceived:
    """A whole text message."""

    text: str


@dataclass(slots=True)
class BytesReceived:
    """A whole binary message."""

    data: bytes


@dataclass(slots=True)
class Closed:
    """The end: the last event, and there is one. ``code`` is the peer's (1005 if it gave none), else ours, else 1006."""

    code: int
    reason: str


Event = TextReceived | BytesReceived | Closed


class State(enum.Enum):
    """Where a connection is. RFC 6455 has OPEN, CLOSING and CLOSED; a failed connection is closing, but reads nothing more."""

    OPEN = "open"
    CLOSING = "closing"  # our Close is out, the peer's is awaited; its messages are dropped and counted
    FAILING = "failing"  # as CLOSING, after the peer broke a rule: only its Close is looked for
    FINISHED = "finished"  # the transport is to be closed


class Input(enum.Enum):
    """What changes the state."""

    LOCAL_CLOSE = "close() was called"
    PEER_CLOSE = "a valid Close came"
    BROKEN_RULE = "the peer broke a rule"
    EOF = "the transport ended"
    PING_LOST = "no sign of life after a ping"
    CLOSE_LOST = "no answer to our Close"


# (state, input) -> next state. A pair that is missing cannot happen, and raises KeyError: messages and data leave the state as
# it is, a FINISHED connection takes no more input, and only an OPEN one pings.
TRANSITIONS = {
    (State.OPEN, Input.LOCAL_CLOSE): State.CLOSING,
    (State.OPEN, Input.PEER_CLOSE): State.FINISHED,
    (State.OPEN, Input.BROKEN_RULE): State.FAILING,
    (State.OPEN, Input.EOF): State.FINISHED,
    (State.OPEN, Input.PING_LOST): State.FINISHED,
    (State.CLOSING, Input.PEER_CLOSE): State.FINISHED,
    (State.CLOSING, Input.BROKEN_RULE): State.FAILING,
    (State.CLOSING, Input.EOF): State.FINISHED,
    (State.CLOSING, Input.CLOSE_LOST): State.FINISHED,
    (State.FAILING, Input.PEER_CLOSE): State.FINISHED,
    (State.FAILING, Input.EOF): State.FINISHED,
    (State.FAILING, Input.CLOSE_LOST): State.FINISHED,
}

NO_CODE = 1005  # the peer's Close had no code (RFC 6455, section 7.1.5); never on the wire
ABNORMAL = 1006  # there was no Close (the same); never on the wire

# Codes valid on the wire: RFC 6455, section 7.4, and the IANA registry for 1012 to 1014.
_REGISTERED = frozenset([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014])

_CLOSE_REASON_BYTES = MAX_CONTROL - 2


def is_sendable_code(code: int) -> bool:
    """Whether a Close frame may carry this code: a registered one, or 3000 to 4999."""
    return code in _REGISTERED or 3000 <= code <= 4999


class WebSocketConnection:
    """
    The state of one connection; see the module for how it is driven.

    Args:
        now: the time.
        max_size: bytes a message may have, decompressed; a longer one closes with 1009.
        ping_interval: seconds without a byte from the peer after which it is pinged; None never pings.
        ping_timeout: seconds that it then has to send something; after them it is given up with 1011.
        close_timeout: seconds it has to answer our Close.
        deflate: from ``deflate.negotiate``, if permessage-deflate was agreed on; belongs to this connection alone.

    Attributes:
        state: a :class:`State`; read only.
        finished: the transport is to be closed once ``data_to_send`` was written.
        lost: the peer gave no answer in time, so what is still to be written will not arrive: abort the transport.
        ignored_messages: messages that came after our Close, and were dropped.
    """

    __slots__ = (
        "_clock_known",
        "_close_timeout",
        "_code",
        "_deadline",
        "_deflate",
        "_events",
        "_heard",
        "_max_size",
        "_message",
        "_message_kind",
        "_out",
        "_parser",
        "_ping_interval",
        "_ping_timeout",
        "_pinged",
        "_reason",
        "_utf8",
        "finished",
        "ignored_messages",
        "lost",
        "state",
    )

    def __init__(
        self,
        *,
        now: float,
        max_size: int = 1 << 20,
        ping_interval: float | None = 20.0,
        ping_timeout: float = 30.0,
        close_timeout: float = 10.0,
        deflate: Deflate | None = None,
    ) -> None:
        self.state = State.OPEN
        self.finished = False
        self.lost = False
        self.ignored_messages = 0
        # A message that deflate makes longer than twice its length is no message, but a stream of empty blocks.
        self._parser = frames.FrameParser(max_size, 0 if deflate is None else 2 * max_size + 1024)
        self._deflate = deflate
        self._max_size = max_size
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout
        self._heard = now  # when the last byte came
        self._pinged = False  # a ping is out, and nothing came since
        self._clock_known = True  # False: close() was called without the time
        self._deadline = None if ping_interval is None else now + ping_interval
        self._events: list[Event] = []
        self._out: list[bytes] = []
        self._message = bytearray()  # what came of the message under way, decompressed
        self._message_kind = 0  # its opcode; 0 between messages
        self._utf8: frames.Utf8Validator | None = None  # of a compressed text message under way
        self._code = ABNORMAL
        self._reason = ""

    # --- what came in

    def receive_data(self, data: bytes, now: float) -> None:
        """
        Take what the socket gave. Then look at ``events()``, ``data_to_send()``, ``next_deadline()`` and ``finished``.

        Never raises for anything a peer sends. Source: RFC 6455, sections 5 and 6.2.
        """
        if self.finished:
            return
        self._heard = now
        if self._pinged:
            # What the ping waited for. The next one is due an interval from here, not when its answer would have been late.
            self._pinged = False
            if self.state is State.OPEN and self._ping_interval is not None:
                self._deadline = now + self._ping_interval
        for kind, payload in self._parser.feed(data):
            if kind == WHOLE_TEXT and not self._message_kind and self.state is State.OPEN:
                self._events.append(TextReceived(payload.decode()))
            else:
                handler = _HANDLERS.get(kind & OPCODE)
                if handler is None:
                    raise AssertionError(f"the frame codec gave a record of kind {kind:#x}; this is a bug in shmchan, report it")
                handler(self, kind, payload, now)
                if self.finished:
                    # Section 5.5.1: nothing after a Close counts.
                    return

    def _piece_received(self, kind: int, payload: bytes, now: float) -> None:
        """A piece of a message, perhaps all of it (sections 5.4 and 6.2)."""
        if self.state is not State.OPEN:
            if kind & END and self.state is State.CLOSING:
                self.ignored_messages += 1
            return
        if kind == WHOLE_BINARY and not self._message_kind:
            self._events.append(BytesReceived(payload))
            return
        self._message_kind = kind & OPCODE
        if kind & COMPRESSED:
            decompressed = self._decompress(kind, payload, now)
            if decompressed is None:
                return
            payload = decompressed
        self._message += payload
        if not kind & END:
            return
        message = self._message
        # A new bytearray, since a cleared one keeps its memory.
        self._message = bytearray()
        self._message_kind = 0
        if kind & OPCODE == TEXT:
            self._events.append(TextReceived(message.decode()))
        else:
            self._events.append(BytesReceived(bytes(message)))

    def _decompress(self, kind: int, payload: bytes, now: float) -> bytes | None:
        """The piece decompressed and, if text, checked as UTF-8; None if that failed the connection (RFC 7692, section 6.2)."""
        if self._deflate is None:
            raise AssertionError("a compressed record without an agreement; this is a bug in shmchan, report it")
        try:
            payload = self._deflate.decompress(payload, self._max_size - len(self._message), end=bool(kind & END))
        except DeflateTooLarge:
            self._fail(1009, "message too big", now)
            return None
        except BadDeflate:
            self._fail(1007, "message does not decompress", now)
            return None
        if kind & OPCODE == TEXT:
            if self._utf8 is None:
                self._utf8 = frames.Utf8Validator()
            if not self._utf8.feed(payload) or (kind & END and not self._utf8.complete()):
                self._fail(1007, "text is not UTF-8", now)
                return None
            if kind & END:
                self._utf8 = None
        return payload

    def _ping_received(self, _kind: int, payload: bytes, _now: float) -> None:
        """Sections 5.5.2 and 5.5.3; after our Close there is nothing more to send."""
        if self.state is State.OPEN:
            self._out.append(encode_frame(PONG, payload))

    def _pong_received(self, _kind: int, _payload: bytes, _now: float) -> None:
        """Section 5.5.3. Being a byte from the peer it has already done its service, asked for or not."""

    def _close_received(self, _kind: int, payload: bytes, now: float) -> None:
        """Sections 5.5.1 and 7.1.5 to 7.1.6: keep what the peer says, answer with the same code unless we were first."""
        if self.state is State.FAILING:
            self._move(Input.PEER_CLOSE, now)
            return
        code, reason = NO_CODE, ""
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not is_sendable_code(code):
                self._fail(1002, "invalid close code", now)
                self._move(Input.PEER_CLOSE, now)
                return
            try:
                reason = payload[2:].decode()
            except UnicodeDecodeError:
                self._fail(1007, "close reason is not UTF-8", now)
                self._move(Input.PEER_CLOSE, now)
                return
        if self.state is State.OPEN:
            self._out.append(encode_frame(CLOSE, payload[:2]))
        if payload or self.state is State.OPEN:
            self._code, self._reason = code, reason
        self._move(Input.PEER_CLOSE, now)

    def _rule_broken(self, _kind: int, _payload: bytes, now: float) -> None:
        failure = FAILURES[self._parser.error]
        self._fail(failure.code, failure.reason, now)

    def receive_eof(self, now: float) -> None:
        """Take the end of the transport, clean or not (section 7.1.4). There will be no more data."""
        if not self.finished:
            self._move(Input.EOF, now)

    def events(self) -> list[Event]:
        """What happened since the last call; each event is given once."""
        events = self._events
        if events:
            self._events = []
        return events

    # --- what goes out

    def send_text(self, text: str) -> bool:
        """
        Send a text message.

        Returns:
            False if the connection is no longer open, so that nothing is sent: the caller counts it.

        Raises:
            UnicodeEncodeError: a lone surrogate; the channel layer lets none through.
        """
        if self.state is not State.OPEN:
            return False
        if self._deflate is not None and len(text) >= self._deflate.minimum_size:
            self._out.append(encode_frame(TEXT, self._deflate.compress(text.encode()), compressed=True))
        else:
            self._out.append(frame_text(text))
        return True

    def send_bytes(self, data: bytes) -> bool:
        """Send a binary message. Returns as :meth:`send_text`."""
        if self.state is not State.OPEN:
            return False
        if self._deflate is not None and len(data) >= self._deflate.minimum_size:
            self._out.append(encode_frame(BINARY, self._deflate.compress(data), compressed=True))
        else:
            self._out.append(frame_bytes(data))
        return True

    def send_frame(self, prepared: bytes) -> bool:
        """Send a frame made by ``frame_text`` or ``frame_bytes``, the same for many connections. Returns as :meth:`send_text`."""
        if self.state is not State.OPEN:
            return False
        self._out.append(prepared)
        return True

    def close(self, code: int = 1000, reason: str = "", *, now: float | None = None) -> None:
        """
        Begin the closing handshake (section 7.1.2); does nothing if it has begun. What was sent before goes out before.

        Args:
            code: one for which :func:`is_sendable_code` holds.
            reason: for people; cut after 123 bytes of UTF-8, at a character.
            now: the time. Without it ``next_deadline`` is in the past, and ``handle_timeout`` then starts the close timeout.

        Raises:
            ValueError: the code must not be sent.
        """
        if not is_sendable_code(code):
            raise ValueError(f"close code {code} must not be sent; use 1000, another registered code, or 3000 to 4999")
        if self.state is not State.OPEN:
            return
        self._send_close(code, reason)
        self._move(Input.LOCAL_CLOSE, self._heard if now is None else now)
        if now is None:
            self._deadline, self._clock_known = self._heard, False

    def _send_close(self, code: int, reason: str) -> None:
        payload = reason.encode()[:_CLOSE_REASON_BYTES]
        if len(reason) > len(payload) // 4:
            payload = payload.decode(errors="ignore").encode()
        self._out.append(encode_frame(CLOSE, code.to_bytes(2, "big") + payload))
        self._code, self._reason = code, payload.decode()

    def _fail(self, code: int, reason: str, now: float) -> None:
        """
        Fail the WebSocket connection (section 7.1.7), if nothing did so before.

        The transport stays until the peer's Close or end, or the close timeout: closing it at once, with data of the peer still
        unread, would make TCP reset it and could take our Close from the peer.
        """
        if self.state is State.FAILING:
            return
        if self.state is State.OPEN:
            self._send_close(code, reason)
        self._parser.fail()
        self._message = bytearray()
        self._utf8 = None
        self._move(Input.BROKEN_RULE, now)

    def data_to_send(self) -> bytes:
        """The bytes to write now; the caller has them from here on."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    # --- time

    def next_deadline(self) -> float | None:
        """
        When to call :meth:`handle_timeout`, or None.

        Receiving data does not move it, except the first after a ping: it stays until it is reached or the state changes, so that
        a timer that is armed for it need not be touched.
        """
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        """Do what is due at ``now``; harmless when nothing is. Afterwards look at everything, as after ``receive_data``."""
        if self._deadline is None or now < self._deadline:
            return
        if not self._clock_known:
            self._deadline, self._clock_known = now + self._close_timeout, True
            return
        if self.state is not State.OPEN:
            self.lost = True
            self._move(Input.CLOSE_LOST, now)
            return
        if self._ping_interval is None:
            raise AssertionError("an open connection has a deadline without pings; this is a bug in shmchan, report it")
        if self._pinged:
            self._send_close(1011, "no answer to a ping")
            self.lost = True
            self._move(Input.PING_LOST, now)
        elif self._heard + self._ping_interval <= now:
            self._out.append(encode_frame(PING, b""))
            self._pinged = True
            self._deadline = now + self._ping_timeout
        else:
            self._deadline = self._heard + self._ping_interval

    # --- the state

    def _move(self, what: Input, now: float) -> None:
        before = self.state
        self.state = TRANSITIONS[before, what]
        if self.state is State.FINISHED:
            self.finished = True
            self._deadline = None
            self._message = bytearray()
            self._deflate = None
            self._events.append(Closed(self._code, self._reason))
        elif before is State.OPEN:
            self._deadline = now + self._close_timeout


_HANDLERS: dict[int, Callable[[WebSocketConnection, int, bytes, float], None]] = {
    FAILED: WebSocketConnection._rule_broken,
    TEXT: WebSocketConnection._piece_received,
    BINARY: WebSocketConnection._piece_received,
    CLOSE: WebSocketConnection._close_received,
    PING: WebSocketConnection._ping_received,
    PONG: WebSocketConnection._pong_received,
}
