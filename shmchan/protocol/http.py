"""
One HTTP/1.1 connection, seen from the server: bytes and ``now`` in, events and bytes out.

Owns keep-alive, pipelining, the framing of bodies both ways, ``Expect: 100-continue``, size and time limits, and the answers to
what is malformed. One request at a time is handed on; what a client sends ahead waits unread in a buffer, and ``wants_data``
says when the socket should not be read for now. Never sees a socket, a clock or a message. Runs in the front.

Reading and writing are two machines, whose transitions are the tables below, as in h11; a pair that is not there is a bug of the
caller and raises. RFC 9112 is meant where a section is named.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shmchan.protocol.chunked import ChunkedReader
from shmchan.protocol.head import BadRequest, HeadLimits, HeadReader, RequestHead
from shmchan.protocol.response import FRAMING, BadResponse, check_headers, check_status, has_body, phrase, response_head

__all__ = [
    "READING",
    "WRITING",
    "BadRequest",
    "BadResponse",
    "BodyReceived",
    "Disconnected",
    "HTTPConnection",
    "HTTPLimits",
    "RequestHead",
    "RequestReceived",
    "UpgradeReceived",
]

# What the client's side does.
HEAD, BODY, COMPLETE, UPGRADE, LINGER, CLOSED = "HEAD", "BODY", "COMPLETE", "UPGRADE", "LINGER", "CLOSED"
# What our side does; CLOSED too.
IDLE, OWED, STREAMING, SENT = "IDLE", "OWED", "STREAMING", "SENT"

READING = {
    (HEAD, "head with body"): BODY,
    (HEAD, "head"): COMPLETE,
    (HEAD, "upgrade"): UPGRADE,
    (BODY, "body"): COMPLETE,
    (COMPLETE, "next"): HEAD,
    (UPGRADE, "upgraded"): CLOSED,  # the bytes belong to another protocol from here on
    # Our answer ends the connection: what the client still sends is read and dropped for a while, because closing a socket with
    # unread bytes resets it, and a reset overtakes the answer.
    (HEAD, "linger"): LINGER,
    (BODY, "linger"): LINGER,
    (COMPLETE, "linger"): LINGER,
    (UPGRADE, "linger"): LINGER,
    (HEAD, "close"): CLOSED,
    (BODY, "close"): CLOSED,
    (COMPLETE, "close"): CLOSED,
    (UPGRADE, "close"): CLOSED,
    (LINGER, "close"): CLOSED,
    (CLOSED, "close"): CLOSED,
}
WRITING = {
    (IDLE, "request"): OWED,
    (OWED, "begin"): STREAMING,
    (STREAMING, "end"): SENT,
    (SENT, "next"): IDLE,
    (IDLE, "refuse"): SENT,  # an error of our own, before anything was handed on
    (OWED, "refuse"): SENT,
    (OWED, "upgraded"): CLOSED,
    (IDLE, "close"): CLOSED,
    (OWED, "close"): CLOSED,
    (STREAMING, "close"): CLOSED,
    (SENT, "close"): CLOSED,
    (CLOSED, "close"): CLOSED,
}


@dataclass(frozen=True, slots=True)
class HTTPLimits:
    """Sizes in bytes, times in seconds."""

    head: HeadLimits = field(default_factory=HeadLimits)
    body: int = 1 << 30  # more is a 413
    body_start: int = 1 << 20  # a body up to this is handed on whole, with its request
    buffered: int = 64 << 10  # unread bytes above which the socket should rest
    head_timeout: float = 10.0  # for a whole head, from its first byte: 408
    keep_alive_timeout: float = 75.0  # without any byte of a next request: closed
    body_timeout: float = 60.0  # without any byte of a body: 408
    linger_timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request with its whole body, or with the start of it, when ``more_body`` is set."""

    head: RequestHead
    body: bytes
    more_body: bool


@dataclass(frozen=True, slots=True)
class BodyReceived:
    """A later piece of a long body."""

    content: bytes
    more_content: bool


@dataclass(frozen=True, slots=True)
class UpgradeReceived:
    """A WebSocket is asked for. Answer with ``upgraded()``, ``send_response`` or ``send_error``."""

    head: RequestHead


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Nobody waits for the answer to the request that was handed on, or the rest of its body will never come."""


Event = RequestReceived | BodyReceived | UpgradeReceived | Disconnected


class HTTPConnection:
    """
    The state of one connection.

    After every call write ``data_to_send()``, look at ``events()``, ``wants_data``, ``next_deadline()``, ``wants_eof`` (the write
    side is to be closed), ``wants_reset`` (the connection is to be reset, whatever is unsent) and ``finished`` (the transport is
    to be closed, once what was to be sent is written).

    Args:
        now: the time, of any clock that does not go back; later calls use the same.
        date: gives the value of the Date header.
    """

    def __init__(self, *, now: float, limits: HTTPLimits | None = None, date: Callable[[], bytes] | None = None) -> None:
        self.limits = limits or HTTPLimits()
        self.reading = HEAD
        self.writing = IDLE
        self.wants_eof = False
        self.wants_reset = False
        self.status = 0  # of the last response, for the log
        self.sent_bytes = 0  # of its content
        self.refusal: BadRequest | None = None  # what the client did wrong, if it did
        self._date = date
        self._now = now
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        self._buffer = b""
        self._head_reader = HeadReader(self.limits.head)
        self._head: RequestHead | None = None
        self._chunks: ChunkedReader | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        self._body_left = 0
        self._handed_on = False
        self._keep_alive = True
        self._out_chunked = False
        self._out_left: int | None = None
        self._silent = False
        self._paused = False
        self._deadline: float | None = now + self.limits.head_timeout

    # What comes in ----------------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Take what was read from the socket. Look at ``events()`` next."""
        self._now = now
        if self.reading in (LINGER, CLOSED):
            return
        self._buffer = self._buffer + data if self._buffer else data
        self._advance()

    def receive_eof(self, now: float) -> None:
        """
        The client closed, or the connection is lost.

        A client that only closed its sending side is treated as gone too: the two look alike, and whoever waits for a long answer
        has to learn that nobody listens any more.
        """
        self._now = now
        if self.writing in (OWED, STREAMING):
            self._events.append(Disconnected())
        self._close()

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        if not self._events:
            return []
        events = list(self._events)
        self._events.clear()
        return events

    def pause_body(self) -> None:
        """Nobody takes the body at the moment: ``wants_data`` is false, and the client is not to blame for its silence."""
        self._paused = True
        if self.reading is BODY:
            self._deadline = None

    def resume_body(self, now: float) -> None:
        self._now = now
        self._paused = False
        if self.reading is BODY:
            self._deadline = now + self.limits.body_timeout

    @property
    def wants_data(self) -> bool:
        """Whether the socket should be read."""
        if self.reading in (COMPLETE, UPGRADE):
            return len(self._buffer) <= self.limits.buffered
        return not self._paused or self.reading is not BODY

    @property
    def idle(self) -> bool:
        """Whether no request is under way, nor has one begun to arrive."""
        return self.reading is HEAD and not self._head_reader.begun

    @property
    def finished(self) -> bool:
        return self.reading is CLOSED and self.writing is CLOSED

    # What goes out ----------------------------------------------------------------------------------------------------------

    @property
    def has_data(self) -> bool:
        """Whether ``data_to_send()`` has something."""
        return bool(self._out)

    def data_to_send(self) -> bytes:
        """The bytes that are to be written now."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def send_response(
        self, status: Any, headers: Any = (), content: bytes = b"", more_content: bool = False, *, now: float | None = None
    ) -> None:
        """
        Answer the request that was handed on.

        Without ``more_content`` the content-length is ours, whatever the application says. With it, one that the application
        names is kept true: what exceeds it is cut off, and if something is missing in the end, the connection is closed.
        ``now`` is when the time for a next request begins; without it that is when this one came.

        Raises:
            BadResponse: status or headers cannot be sent. Nothing was written; ``send_error`` is next.
            RuntimeError: no answer is owed.
        """
        if self.writing is not OWED or self._head is None:
            raise RuntimeError(f"no response is owed, our side is {self.writing}")
        status = check_status(status)
        given = check_headers(headers)
        head = self._head
        kept = [header for header in given if header[0] not in FRAMING]
        length: int | None = None
        for name, value in given:
            if name == b"content-length" and value.isdigit() and len(value) <= 18:
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                self._keep_alive = False
        if self.reading is not COMPLETE:
            self._keep_alive = False  # the rest of the request's body is not worth waiting for
        self._silent = not has_body(head.method, status)
        self._out_chunked = False
        self._out_left = None
        if self._silent:
            if length is None and not more_content and head.method == "HEAD" and status not in (204, 304):
                length = len(content) or None  # none at all is left out here, as most applications do: no length, rather than 0
            if length is not None and status != 204:
                kept.append((b"content-length", b"%d" % length))
        elif not more_content:
            kept.append((b"content-length", b"%d" % len(content)))
        elif length is not None:
            kept.append((b"content-length", b"%d" % length))
            self._out_left = length
        elif head.http_version == "1.1":
            kept.append((b"transfer-encoding", b"chunked"))
            self._out_chunked = True
        else:
            self._keep_alive = False
        self._write_head(status, kept, head.http_version)
        self._write("begin")
        self.send_body(content, more_content, now=now)

    def send_body(self, content: bytes, more_content: bool = False, *, now: float | None = None) -> int:
        """
        A further piece of the response that ``send_response`` began.

        Returns:
            how many bytes were cut off, because they exceed the content-length.
        """
        if self.writing is not STREAMING:
            raise RuntimeError(f"no response has begun, our side is {self.writing}")
        if now is not None:
            self._now = now
        cut = 0
        if self._silent:
            content = b""
        if self._out_left is not None:
            cut = max(len(content) - self._out_left, 0)
            if cut:
                content = content[: self._out_left]
            self._out_left -= len(content)
        self.sent_bytes += len(content)
        if self._out_chunked:
            if content:
                self._out += (b"%x\r\n" % len(content), content, b"\r\n")
            if not more_content:
                self._out.append(b"0\r\n\r\n")
        elif content:
            self._out.append(content)
        if not more_content:
            if self._out_left:
                self._keep_alive = False  # too short: only the end of the connection tells the client
            self._write("end")
            self._end_cycle()
        return cut

    def sent_outside(self, count: int, *, now: float) -> None:
        """
        The caller wrote ``count`` bytes of the content to the socket itself, behind all of ``data_to_send()``.

        Only of a response that ``send_response`` began with a content-length and ``more_content``; it ends with its last byte.
        """
        if self.writing is not STREAMING or self._out_left is None or not 0 < count <= self._out_left:
            raise RuntimeError(f"{count} bytes are not owed here, our side is {self.writing}")
        self._now = now
        self._out_left -= count
        self.sent_bytes += count
        if self._out_left == 0:
            self._write("end")
            self._end_cycle()

    def send_error(self, status: int, content: bytes | None = None, *, now: float | None = None) -> None:
        """Answer with an error of our own; if an answer had begun already, cut it off. The connection ends with it."""
        if now is not None:
            self._now = now
        self._keep_alive = False
        if self.writing is STREAMING:
            # No good end for what has begun: no last chunk, no full length. The client sees that it is not whole. One of HTTP/1.0
            # was told no length, and would take the end of the connection for a good one.
            self.wants_reset = not self._silent and not self._out_chunked and self._out_left is None
            self._write("end")
            self._end_cycle()
            return
        if self.writing not in (IDLE, OWED):
            return
        text = f"{status} {phrase(status)}\n".encode() if content is None else content
        silent = self._head is not None and self.writing is OWED and not has_body(self._head.method, status)
        self._write_head(status, [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))], "1.1")
        if not silent:
            self._out.append(text)
            self.sent_bytes += len(text)
        self._write("refuse")
        self._end_cycle()

    def upgraded(self) -> bytes:
        """The handshake was accepted: this connection speaks another protocol now. Returns what was read ahead of it."""
        self._read("upgraded")
        self._write("upgraded")
        self._deadline = None
        rest, self._buffer = self._buffer, b""
        # A WebSocket may live for days, and nobody asks for its head again.
        self._head = None
        self._head_reader.clear()
        return rest

    def shut_down(self, now: float) -> None:
        """Answer what is under way and nothing more; close at once if nothing is."""
        self._now = now
        self._keep_alive = False
        if self.reading is HEAD and self.writing is IDLE:
            self._close()

    # Time -------------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``handle_timeout`` has something to do, if nothing happens until then."""
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Look at ``events()`` next."""
        self._now = now
        if self._deadline is None or now < self._deadline:
            return
        self._deadline = None
        if self.reading is LINGER or self.idle:
            self._close()
        elif self.reading in (HEAD, BODY):
            self._refuse(BadRequest(408, "the request came too slowly"))

    # ------------------------------------------------------------------------------------------------------------------------

    def _read(self, event: str) -> None:
        try:
            self.reading = READING[self.reading, event]
        except KeyError:
            raise RuntimeError(f"{event!r} cannot happen while the client's side is {self.reading}") from None

    def _write(self, event: str) -> None:
        try:
            self.writing = WRITING[self.writing, event]
        except KeyError:
            raise RuntimeError(f"{event!r} cannot happen while our side is {self.writing}") from None

    def _advance(self) -> None:
        try:
            while self._buffer:
                if self.reading is HEAD:
                    self._advance_head()
                elif self.reading is BODY:
                    self._advance_body()
                else:
                    return
        except BadRequest as refusal:
            self._refuse(refusal)

    def _advance_head(self) -> None:
        reader = self._head_reader
        begun = reader.begun
        taken = reader.feed(self._buffer)
        self._buffer = self._buffer[taken:]
        head = reader.head
        if head is None:
            if reader.begun and not begun:
                self._deadline = self._now + self.limits.head_timeout
            return
        self._head = head
        self._keep_alive = self._keep_alive and head.keep_alive
        self._deadline = None
        if head.upgrade:
            self._read("upgrade")
            self._write("request")
            self._events.append(UpgradeReceived(head))
            return
        if not head.chunked and not head.content_length:
            self._read("head")
            self._hand_on(b"", more_body=False)
            return
        if (head.content_length or 0) > self.limits.body:
            raise BadRequest(413, f"the body is longer than {self.limits.body} bytes")
        self._chunks = ChunkedReader() if head.chunked else None
        self._body_left = head.content_length or 0
        self._body_size = 0
        self._body = []
        self._handed_on = False
        self._read("head with body")
        self._deadline = self._now + self.limits.body_timeout
        if head.expects_continue and not self._buffer:
            self._out.append(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _advance_body(self) -> None:
        if self._chunks is not None:
            content, self._buffer = self._chunks.feed(self._buffer)
            done = self._chunks.done
        else:
            content, self._buffer = self._buffer[: self._body_left], self._buffer[self._body_left :]
            self._body_left -= len(content)
            done = self._body_left == 0
        self._body_size += len(content)
        if self._body_size > self.limits.body:
            raise BadRequest(413, f"the body is longer than {self.limits.body} bytes")
        if not self._paused:
            self._deadline = self._now + self.limits.body_timeout
        if done:
            self._read("body")
            self._deadline = None
        if self._handed_on:
            if content or done:
                self._events.append(BodyReceived(content, not done))
            return
        self._body.append(content)
        if done or self._body_size > self.limits.body_start:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
            self._hand_on(body, more_body=not done)

    def _hand_on(self, body: bytes, *, more_body: bool) -> None:
        self._write("request")
        self._handed_on = True
        assert self._head is not None
        self._events.append(RequestReceived(self._head, body, more_body))

    def _refuse(self, refusal: BadRequest) -> None:
        """The client did something wrong: tell it, if it can still be told, and close."""
        self.refusal = refusal
        self._buffer = b""
        if self.writing in (OWED, STREAMING):
            self._events.append(Disconnected())
        self.send_error(refusal.status, f"{refusal.status} {phrase(refusal.status)}: {refusal}\n".encode())

    def _write_head(self, status: int, headers: Sequence[tuple[bytes, bytes]], version: str) -> None:
        lines = list(headers)
        if self._date is not None and not any(name == b"date" for name, _ in lines):
            lines.append((b"date", self._date()))
        if not self._keep_alive:
            lines.append((b"connection", b"close"))
        elif version == "1.0":
            lines.append((b"connection", b"keep-alive"))
        self.status = status
        self.sent_bytes = 0
        self._out.append(response_head(status, lines))

    def _end_cycle(self) -> None:
        """A response is out: go on with the next request, or bring the connection to its end."""
        if self._keep_alive and self.reading is COMPLETE:
            self._read("next")
            self._write("next")
            self._head = None
            self._head_reader = HeadReader(self.limits.head)
            self._deadline = self._now + self.limits.keep_alive_timeout
            self._advance()
            return
        ahead = bool(self._buffer)
        self._buffer = b""
        self._write("close")
        if self.reading in (COMPLETE, UPGRADE) and not ahead:
            self._read("close")
            return
        self._read("linger")
        self.wants_eof = True
        self._deadline = self._now + self.limits.linger_timeout

    def _close(self) -> None:
        self._read("close")
        self._write("close")
        self._deadline = None
        self._buffer = b""
