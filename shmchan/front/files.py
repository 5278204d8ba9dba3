"""
One request for a static file: its conditions and ranges, its answer, and the file's bytes on their way to the socket.

Small files are read at once and go out like any response. Others are sent by sendfile(2), a piece whenever the socket has room
for one, so that a slow client costs two descriptors and no memory. uvloop has no ``loop.sendfile``: the pieces go to a duplicate
of the socket's descriptor, which the loop watches, and only while the transport has nothing left to write. What would have to
wait for a disk is read by a thread first. Runs in the front.
"""

import asyncio
import errno
import logging
import os
import secrets
from collections import deque
from typing import TYPE_CHECKING

from shmchan.front.static import Folder, NotServed, OpenFile, SingleFile
from shmchan.protocol.conditions import accepted_codings, field, precondition, range_allowed
from shmchan.protocol.http import BodyReceived, HTTPConnection, RequestReceived
from shmchan.protocol.ranges import Span, content_range, in_parts, read_range
from shmchan.protocol.response import phrase

if TYPE_CHECKING:
    from shmchan.front.connection import Connection

logger = logging.getLogger("shmchan.front")

SMALL = 64 << 10
PIECE = 512 << 10  # at most, at a time: then it is somebody else's turn

SPOILT = "its file was written to meanwhile; put a new file in its place, by renaming"

Headers = list[tuple[bytes, bytes]]


class FileExchange:
    """
    A request that the front answers with a file, until its last byte is in the kernel or nobody waits for it.

    Attributes:
        waits: whether the client has not got all yet.
        stalled: False; its body is of no interest.
        holding: False; nothing is sent to it.
        deadline: when the client will have taken nothing for too long.
    """

    __slots__ = ("_bridge", "_connection", "_file", "_pieces", "_request", "_socket", "_started", "deadline", "waits")

    stalled = False
    holding = False

    def __init__(
        self, connection: "Connection", http: HTTPConnection, request: RequestReceived, place: Folder | SingleFile, now: float
    ) -> None:
        self._connection = connection
        self._bridge = connection.bridge
        self._request = request
        self.waits = True
        self._started = now
        self._file: OpenFile | None = None
        self._socket = -1
        self._pieces: deque[bytes | Span] = deque()
        self.deadline: float | None = None
        self._bridge.counters.add("requests")
        self._bridge.counters.add("static")
        if connection.drained:
            self._respond(http, place)
        else:  # behind others of its client, who may have sent a thousand at once: everybody else comes first
            self._bridge.loop.call_soon(self._respond_later, http, place)

    @property
    def connection(self) -> "Connection":
        return self._connection

    def body(self, event: BodyReceived, now: float) -> None:
        """Nobody asked for a body."""

    def shut_down(self) -> None:
        """The front stops; there is time to send the rest."""

    def abandoned(self) -> None:
        """The client left, or broke a rule so that it was answered already."""
        if self.waits:
            self._end(499)

    def handle_timeout(self, now: float) -> None:
        """The client took nothing for a while, or the time was set anew since."""
        if self.deadline is None or now < self.deadline:
            return
        self._bridge.problem(
            "timeout.write", self._where(), f"cut off, it took nothing for {self._bridge.config.write_timeout:g} s"
        )
        self._connection.abort()

    # ------------------------------------------------------------------------------------------------------------------------

    def _respond_later(self, http: HTTPConnection, place: Folder | SingleFile) -> None:
        if self.waits:
            self._respond(http, place)
            self._connection.update(self._bridge.now())

    def _respond(self, http: HTTPConnection, place: Folder | SingleFile) -> None:
        head = self._request.head
        try:
            if head.method not in ("GET", "HEAD"):
                self._refuse(http, 405, [(b"allow", b"GET, HEAD")])
                return
            self._file = place.open(self._connection.path_of(head), accepted_codings(head.headers))
            self._answer(http, self._file)
        except NotServed as reason:
            if str(reason):
                logger.warning("%s is a %d: %s", self._where(), reason.status, reason)
            headers: Headers = [] if reason.location is None else [(b"location", reason.location + self._query())]
            self._refuse(http, reason.status, headers)
        except OSError as error:  # of reading a small file, or looking whether one is in memory; nothing was sent yet
            logger.warning("%s is a 503: its file cannot be read: %s", self._where(), error.strerror)
            self._refuse(http, 503, [])

    def _answer(self, http: HTTPConnection, file: OpenFile) -> None:
        head = self._request.head
        validators = file.validators()
        headers: Headers = [(b"etag", validators.tag), (b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
        if file.varies:
            headers.append((b"vary", b"accept-encoding"))
        decided = precondition(head.headers, validators)
        if decided == 304:
            self._send(http, 304, headers, b"")
            return
        if decided is not None:
            self._refuse(http, decided, [])
            return
        headers += ((b"last-modified", validators.date), (b"accept-ranges", b"bytes"))
        if file.coding is not None:
            headers.append((b"content-encoding", file.coding))
        spans: list[Span] | None = None
        asked = field(head.headers, b"range") if head.method == "GET" else None  # RFC 9110, 14.2: of no other method
        if asked is not None and range_allowed(head.headers, validators):
            spans = read_range(asked, file.size)
        if spans is None:
            pieces: list[bytes | Span] = [(0, file.size)] if file.size else []
            headers.append((b"content-type", file.kind))
        elif not spans:
            self._refuse(http, 416, [(b"content-range", content_range(None, file.size)), (b"accept-ranges", b"bytes")])
            return
        elif len(spans) == 1:
            pieces = [*spans]
            headers += ((b"content-type", file.kind), (b"content-range", content_range(spans[0], file.size)))
        else:
            boundary = secrets.token_hex(16).encode()
            pieces = in_parts(spans, file.size, file.kind, boundary)
            headers.append((b"content-type", b"multipart/byteranges; boundary=" + boundary))
        self._begin(http, 200 if spans is None else 206, headers, pieces)

    def _begin(self, http: HTTPConnection, status: int, headers: Headers, pieces: list[bytes | Span]) -> None:
        assert self._file is not None
        length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
        if self._request.head.method == "HEAD" or not pieces:
            self._send(http, status, [*headers, (b"content-length", b"%d" % length)], b"")
        elif length <= SMALL and self._connection.drained and all(_is_cached(self._file.fd, piece) for piece in pieces):
            content = b"".join(piece if isinstance(piece, bytes) else _read(self._file.fd, piece) for piece in pieces)
            if len(content) == length:
                self._send(http, status, headers, content)
            else:
                logger.warning("%s is a 503: %s", self._where(), SPOILT)
                self._refuse(http, 503, [(b"retry-after", b"1")])
        else:
            try:
                self._socket = os.dup(self._connection.fileno())
            except OSError as error:
                raise NotServed(503, f"there is no descriptor for it: {error.strerror}") from error
            headers.append((b"content-length", b"%d" % length))
            http.send_response(status, headers, more_content=True, now=self._bridge.now())
            self._pieces.extend(pieces)
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        self.deadline = self._bridge.now() + self._bridge.config.write_timeout
        self._bridge.loop.add_writer(self._socket, self._write)

    def _write(self) -> None:
        """The socket has room. The transport goes first, if it has something left, for the head of this answer is in it."""
        connection = self._connection
        if not connection.drained:
            return
        http = connection.http
        piece = self._pieces[0]
        try:
            if not _is_cached(self._file_fd(), piece):
                self._read_ahead(piece)
                return
            count = os.write(self._socket, piece) if isinstance(piece, bytes) else self._write_from_file(piece)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError:
            connection.abort()
            return
        except OSError as error:
            self._cut_off(f"its file cannot be read: {error.strerror}")
            return
        if count == 0:
            self._cut_off(SPOILT)
            return
        self._pieces.popleft()
        if isinstance(piece, bytes) and count < len(piece):
            self._pieces.appendleft(piece[count:])
        elif not isinstance(piece, bytes) and piece[0] + count < piece[1]:
            self._pieces.appendleft((piece[0] + count, piece[1]))
        self.deadline = self._bridge.now() + self._bridge.config.write_timeout
        http.sent_outside(count, now=self._bridge.now())
        if not self._pieces:
            self._finish(http)

    def _write_from_file(self, span: Span) -> int:
        """Send the next bytes of the file. Returns how many, 0 if the file is not what it was any more."""
        assert self._file is not None
        if self._file.spoilt():
            return 0
        return os.sendfile(self._socket, self._file.fd, span[0], min(span[1] - span[0], PIECE))

    def _read_ahead(self, piece: bytes | Span) -> None:
        """Have a thread wait for the disk, and go on when the next bytes are in the page cache."""
        assert not isinstance(piece, bytes)
        loop = self._bridge.loop
        loop.remove_writer(self._socket)
        own = os.dup(self._file_fd())  # ours may be closed before the disk has answered
        loop.run_in_executor(None, _load, own, _next(piece)).add_done_callback(self._have_read)

    def _have_read(self, done: "asyncio.Future[None]") -> None:
        error = done.exception()
        if not self.waits:
            return
        if error is not None:
            self._cut_off(f"its file cannot be read: {error}")
        else:
            self._wait_for_room()

    def _cut_off(self, why: str) -> None:
        """There is no good end for what has begun: the client sees that it is not whole."""
        self._bridge.problem("cut.changed", self._where(), f"cut off, {why}")
        self._connection.http.send_error(500, now=self._bridge.now())
        self._finish(self._connection.http)

    def _file_fd(self) -> int:
        assert self._file is not None
        return self._file.fd

    def _refuse(self, http: HTTPConnection, status: int, headers: Headers) -> None:
        text = f"{status} {phrase(status)}\n".encode()
        self._send(http, status, [*headers, (b"content-type", b"text/plain; charset=utf-8")], text)

    def _send(self, http: HTTPConnection, status: int, headers: Headers, content: bytes) -> None:
        http.send_response(status, headers, content, now=self._bridge.now())
        self._end(status)

    def _finish(self, http: HTTPConnection) -> None:
        """All of it was sent, or no more can be; the connection goes on."""
        self._end(http.status)
        self._connection.update(self._bridge.now())

    def _end(self, status: int) -> None:
        self.waits = False
        self.deadline = None
        self._pieces.clear()
        if self._socket >= 0:
            self._bridge.loop.remove_writer(self._socket)
            os.close(self._socket)
        if self._file is not None:
            self._file.close()
        what = f"{self._request.head.method} {self._request.head.target.decode('ascii')}"
        self._bridge.access(self._connection.client, what, status, self._connection.http.sent_bytes, self._started)
        self._connection.exchange_over(self)

    def _query(self) -> bytes:
        query = self._request.head.query_string
        return b"?" + query if query else b""

    def _where(self) -> str:
        return f"{self._request.head.method} {self._request.head.target.decode('ascii'):.200}"


def _read(fd: int, span: Span) -> bytes:
    """What is there of a part of a file; a regular file gives all of it at once."""
    return os.pread(fd, span[1] - span[0], span[0])


def _next(span: Span) -> Span:
    return span[0], min(span[1], span[0] + PIECE)


def _is_cached(fd: int, piece: bytes | Span) -> bool:
    """Whether the next bytes of a part are in the page cache, as far as its last byte tells; where nothing tells, they are."""
    if isinstance(piece, bytes):
        return True
    try:
        os.preadv(fd, [bytearray(1)], _next(piece)[1] - 1, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    return True


def _load(fd: int, span: Span) -> None:
    """Read a part of a file into the page cache, in a thread, however long the disk takes. Closes the descriptor."""
    try:
        _read(fd, span)
    finally:
        os.close(fd)
