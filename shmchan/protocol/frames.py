"""
WebSocket frames: bytes received to pieces of messages, payloads to bytes to send.

Owns the boundary to the C codec (``csrc/frames/wsframe.h``, whose header is the manual) and what Python needs of RFC 6455,
section 5. It never knows connections, closing handshakes, time or sockets: those are websocket.py's and the front's. The front
process runs it; no other does.
"""

from typing import Any, NamedTuple

from shmchan._frames import ffi, lib

__all__ = [
    "BINARY",
    "CLOSE",
    "COMPRESSED",
    "CONTINUATION",
    "END",
    "FAILED",
    "FAILURES",
    "MAX_CONTROL",
    "MAX_FRAGMENTS",
    "OPCODE",
    "PING",
    "PONG",
    "TEXT",
    "WHOLE_BINARY",
    "WHOLE_TEXT",
    "Failure",
    "FrameParser",
    "Utf8Validator",
    "encode_frame",
    "frame_bytes",
    "frame_text",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# A record's kind is its opcode with these bits.
FAILED = 0
END = lib.SHMC_WS_END
COMPRESSED = lib.SHMC_WS_COMPRESSED
OPCODE = 0x0F
WHOLE_TEXT = TEXT | END
WHOLE_BINARY = BINARY | END

MAX_CONTROL = lib.SHMC_WS_CONTROL_BYTES

# The Autobahn cases 9.3 and 9.4 send 65,536 frames in a message; twice that is no way to work, but a way to keep a front busy.
MAX_FRAGMENTS = 1 << 17


class Failure(NamedTuple):
    """What a broken rule is called on the wire: a close code of RFC 6455, section 7.4.1, and a reason for people."""

    code: int
    reason: str


FAILURES = {
    lib.SHMC_WS_E_RSV: Failure(1002, "reserved bit set"),
    lib.SHMC_WS_E_OPCODE: Failure(1002, "reserved opcode"),
    lib.SHMC_WS_E_CONTROL_FRAGMENTED: Failure(1002, "fragmented control frame"),
    lib.SHMC_WS_E_NO_MESSAGE: Failure(1002, "continuation without a message"),
    lib.SHMC_WS_E_IN_MESSAGE: Failure(1002, "new message before the end of the last"),
    lib.SHMC_WS_E_MASK: Failure(1002, "frame not masked"),
    lib.SHMC_WS_E_CONTROL_LENGTH: Failure(1002, "control frame too long"),
    lib.SHMC_WS_E_LENGTH: Failure(1002, "length not minimal, or too large"),
    lib.SHMC_WS_E_UTF8: Failure(1007, "text is not UTF-8"),
    lib.SHMC_WS_E_TOO_BIG: Failure(1009, "message too big"),
    lib.SHMC_WS_E_FRAGMENTS: Failure(1009, "message in too many fragments"),
}

# Batches are 66 KiB, so they are shared; taking one from a list and giving it back are single steps for threads.
_spare_batches: list[tuple[Any, Any, Any]] = []


def _new_batch() -> tuple[Any, Any, Any]:
    """A C batch, its records, and its bytes as a buffer whose slices are ``bytes``."""
    batch = ffi.new("struct shmc_ws_batch *")
    return batch, batch.records, ffi.buffer(batch.out, lib.SHMC_WS_BATCH_OUT_BYTES)


class FrameParser:
    """
    Takes a client's bytes, gives records ``(kind, payload)``.

    ``kind`` is an opcode (never CONTINUATION) with END on the last piece of a message and COMPRESSED on every piece of a
    compressed one; control frames come whole. Text is UTF-8 as far as it has come, unless compressed. ``FAILED`` stands where
    the peer broke a rule, which :attr:`error` tells: after it frames are skipped, and only the peer's Close is found, empty.

    Args:
        max_size: bytes a message may have as sent, uncompressed.
        max_compressed: the same for compressed messages; 0 refuses them.
        max_fragments: continuation frames a message may have.
    """

    __slots__ = ("_parser",)

    def __init__(self, max_size: int, max_compressed: int = 0, max_fragments: int = MAX_FRAGMENTS) -> None:
        self._parser = ffi.new("struct shmc_ws_parser *")
        lib.shmc_ws_parser_init(self._parser, max_size, max_compressed, max_fragments)

    @property
    def error(self) -> int:
        """0, or the code of what broke the rules: a key of FAILURES, or ``SHMC_WS_E_CALLER`` after :meth:`fail`."""
        error: int = self._parser.error
        return error

    def fail(self) -> None:
        """Fail for a reason found outside, such as a bad deflate stream; ``feed`` gives no FAILED for it."""
        lib.shmc_ws_parser_fail(self._parser)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """
        Take the next bytes.

        Returns:
            the records that they completed, in order.

        Source: RFC 6455, sections 5.2 to 5.6; csrc/frames/wsframe.c.
        """
        shared = _spare_batches.pop() if _spare_batches else _new_batch()
        batch, found, out = shared
        parser = self._parser
        length = len(data)
        records: list[tuple[int, bytes]] = []
        start = 0
        failed = parser.error
        while start < length:
            for index in range(lib.shmc_ws_parse(parser, data, start, length, batch)):
                record = found[index]
                offset = record.offset
                records.append((record.kind, out[offset : offset + record.length]))
            start = parser.consumed
            if parser.error != failed:
                failed = parser.error
                records.append((FAILED, b""))
        _spare_batches.append(shared)
        return records


class Utf8Validator:
    """Checks text that comes in pieces, as early as each byte (RFC 3629). For text that was compressed."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = ffi.new("struct shmc_utf8 *")

    def feed(self, data: bytes) -> bool:
        """Whether all that came so far may be the start of valid text."""
        return lib.shmc_utf8_feed(self._state, data, len(data)) == len(data)

    def complete(self) -> bool:
        """Whether the text may end here."""
        left: int = self._state.left
        return left == 0


def _header(first: int, length: int) -> bytes:
    out = ffi.new("uint8_t[]", lib.SHMC_WS_HEADER_BYTES)
    written = lib.shmc_ws_header(out, first, length)
    header: bytes = ffi.buffer(out, written)[:]
    return header


_FIN, _RSV1 = 0x80, 0x40
# Headers of the short frames are looked up: most frames are short.
_SHORT_TEXT = [_header(_FIN | TEXT, length) for length in range(126)]
_SHORT_BINARY = [_header(_FIN | BINARY, length) for length in range(126)]


def encode_frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """A server's whole frame: FIN set, not masked (RFC 6455, section 5.1), RSV1 set if ``compressed`` (RFC 7692, section 6)."""
    return _header(_FIN | opcode | (_RSV1 if compressed else 0), len(payload)) + payload


def frame_text(text: str) -> bytes:
    """
    The uncompressed text frame of ``text``, to be sent to many connections by ``send_frame``.

    Raises:
        UnicodeEncodeError: a lone surrogate; the channel layer lets none through.
    """
    payload = text.encode()
    length = len(payload)
    if length < 126:
        return _SHORT_TEXT[length] + payload
    return _header(_FIN | TEXT, length) + payload


def frame_bytes(data: bytes) -> bytes:
    """The uncompressed binary frame of ``data``, to be sent to many connections by ``send_frame``."""
    length = len(data)
    if length < 126:
        return _SHORT_BINARY[length] + data
    return _header(_FIN | BINARY, length) + data
