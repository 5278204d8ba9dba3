"""
The chunked transfer coding of a request's body (RFC 9112 7.1), read strictly.

Owns the framing only: sizes in, bytes out. Lines end with CRLF and nothing else, sizes are hexadecimal digits and nothing else;
extensions (without the spaces that RFC 9112 would let pass) and trailers are checked for shape and dropped. Never sees a socket
or a clock. Runs in the front.
"""

import re

from shmchan.protocol.head import BadRequest

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")

MAX_LINE = 4096
MAX_TRAILERS = 16 << 10

# The states, and what each reads. DATA counts down, the others look for the end of a line.
SIZE, DATA, DATA_END, TRAILER, DONE = "size", "data", "data end", "trailer", "done"


class ChunkedReader:
    """Reads one body. ``feed`` until ``done``."""

    __slots__ = ("_buffer", "_left", "_state", "_trailers")

    def __init__(self) -> None:
        self._buffer = b""
        self._state = SIZE
        self._left = 0
        self._trailers = 0

    @property
    def done(self) -> bool:
        return self._state is DONE

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """
        Read what came.

        Returns:
            ``(content, rest)``: the decoded bytes, and what follows the body (empty until ``done``).

        Raises:
            BadRequest: this is not the chunked coding.
        """
        buffer = self._buffer + data if self._buffer else data
        content: list[bytes] = []
        position = 0
        while self._state is not DONE:
            if self._state is DATA:
                piece = buffer[position : position + self._left]
                if not piece:
                    break
                content.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = DATA_END
                continue
            if self._state is DATA_END:
                end = buffer[position : position + 2]
                if not b"\r\n".startswith(end):
                    raise BadRequest(400, "a chunk is longer than its size says")
                if len(end) < 2:
                    break
                position += 2
                self._state = SIZE
                continue
            line_end = buffer.find(b"\r\n", position)
            if line_end < 0:
                self._check_part(buffer[position:])
                break
            line = buffer[position:line_end]
            position = line_end + 2
            self._read_line(line)
        rest = buffer[position:]
        if self._state is DONE:
            self._buffer = b""
            return b"".join(content), rest
        self._buffer = rest
        return b"".join(content), b""

    def _read_line(self, line: bytes) -> None:
        if self._state is SIZE:
            size = _SIZE.fullmatch(line)
            if size is None or len(line) > MAX_LINE:
                raise BadRequest(400, "a chunk's size is malformed")
            self._left = int(size.group(1), 16)
            self._state = DATA if self._left else TRAILER
            return
        if not line:
            self._state = DONE
            return
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS:
            raise BadRequest(431, "the trailers are too long")
        if not _TRAILER.fullmatch(line):
            raise BadRequest(400, "a trailer is malformed")

    def _check_part(self, part: bytes) -> None:
        """Refuse early what cannot become a good line: a waiting client should not have to wait for the time limit."""
        if len(part) > MAX_LINE:
            raise BadRequest(400, "a line of the chunked coding is too long")
        part = part.removesuffix(b"\r")
        pattern = _SIZE if self._state is SIZE else None
        if b"\n" in part or b"\r" in part or (pattern is not None and part and not pattern.fullmatch(part)):
            raise BadRequest(400, "a line of the chunked coding is malformed")
