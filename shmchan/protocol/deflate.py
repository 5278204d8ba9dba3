"""
permessage-deflate (RFC 7692): what client and server agree on, and the two zlib streams of one connection.

Owns the choice among a client's offers, the compression of whole messages and the bounded decompression of messages in pieces.
It never sees frames, sockets or time, and never yields more than it was allowed to: a decompression bomb ends at the limit. The
front runs it.
"""

import zlib
from collections.abc import Iterable, Sequence

from shmchan.exceptions import ShmchanError

__all__ = ["BadDeflate", "Deflate", "DeflateTooLarge", "Offer", "negotiate"]

NAME = "permessage-deflate"

# One element of Sec-WebSocket-Extensions: its name, and its parameters with None for those without a value.
Offer = tuple[str, list[tuple[str, str | None]]]

# What a flush ends with, and what is left out on the wire (RFC 7692, sections 7.2.1 and 7.2.2).
_TAIL = b"\x00\x00\xff\xff"

# A window of 4 KiB and little hash memory: 32 KiB for each connection that sends compressed, instead of 256 KiB.
WINDOW_BITS = 12
MEMORY_LEVEL = 5

# Below this a frame's compression costs more time than it saves bytes; RFC 7692, section 6 leaves the choice to the sender.
MINIMUM_SIZE = 128

# How often one message may end a stream and begin another (BFINAL; RFC 7692, section 7.2.3.4). Each costs a new window.
_MAX_STREAMS = 16


class BadDeflate(ShmchanError):
    """A compressed message that does not decompress; the connection is to be failed with 1007."""


class DeflateTooLarge(ShmchanError):
    """A compressed message that grows beyond the limit; the connection is to be failed with 1009."""


class Deflate:
    """
    What one connection agreed on, with its compressor and decompressor, made when they are first needed.

    Args:
        server_max_window_bits: 9 to 15, the window of what we send.
        client_max_window_bits: 8 to 15, the window of what we receive.
        server_no_context_takeover: each message we send is compressed by itself.
        client_no_context_takeover: each message we receive was.
        answer: the value of Sec-WebSocket-Extensions that tells the client; "" stands for what the values say.
        minimum_size: bytes below which a message goes uncompressed.
    """

    __slots__ = (
        "_compressor",
        "_decompressor",
        "_streams",
        "answer",
        "client_max_window_bits",
        "client_no_context_takeover",
        "minimum_size",
        "server_max_window_bits",
        "server_no_context_takeover",
    )

    def __init__(
        self,
        *,
        server_max_window_bits: int = 15,
        client_max_window_bits: int = 15,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        answer: str = "",
        minimum_size: int = MINIMUM_SIZE,
    ) -> None:
        if not 9 <= server_max_window_bits <= 15:
            raise ValueError(f"server_max_window_bits is {server_max_window_bits}; zlib compresses with 9 to 15")
        if not 8 <= client_max_window_bits <= 15:
            raise ValueError(f"client_max_window_bits is {client_max_window_bits}; RFC 7692 has 8 to 15")
        self.server_max_window_bits = server_max_window_bits
        self.client_max_window_bits = client_max_window_bits
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.minimum_size = minimum_size
        self.answer = answer or _answer(self, server_max_window_bits != 15, client_max_window_bits != 15)
        self._compressor: zlib._Compress | None = None
        self._decompressor: zlib._Decompress | None = None
        self._streams = 0

    def compress(self, data: bytes) -> bytes:
        """
        One whole message as the payload of a frame with RSV1.

        Source: RFC 7692, section 7.2.1; section 7.2.3.6 for empty ones.
        """
        if not data:
            return b"\x00"
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -self.server_max_window_bits, MEMORY_LEVEL)
        payload = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        self._compressor = None if self.server_no_context_takeover else compressor
        return payload[: -len(_TAIL)]

    def decompress(self, data: bytes, limit: int, *, end: bool) -> bytes:
        """
        The next piece of a message.

        Args:
            data: payload bytes as they came.
            limit: the most bytes this piece may become.
            end: these are the message's last bytes.

        Raises:
            DeflateTooLarge: it becomes more than ``limit``; no more than that was decompressed.
            BadDeflate: it is no deflate stream.
            After either the state is spent.

        Source: RFC 7692, section 7.2.2.
        """
        if end:
            data += _TAIL
        pieces = []
        room = limit
        try:
            while True:
                decompressor = self._decompressor
                if decompressor is None:
                    decompressor = self._decompressor = zlib.decompressobj(-self.client_max_window_bits)
                piece = decompressor.decompress(data, room + 1)
                room -= len(piece)
                if room < 0:
                    raise DeflateTooLarge("a compressed message grows beyond its limit; --ws-max-size raises it")
                pieces.append(piece)
                if not decompressor.eof:
                    break
                # A block with BFINAL ended the stream, which had no later use for its window: the next begins anew.
                self._decompressor = None
                data = decompressor.unused_data
                self._streams += 1
                if self._streams > _MAX_STREAMS:
                    raise BadDeflate(f"a message of more than {_MAX_STREAMS} deflate streams; send it as one")
                if not data or (end and data == _TAIL):
                    break
        except zlib.error as error:
            raise BadDeflate(f"a compressed message is no deflate stream ({error}); the client's zlib is at fault") from error
        if end:
            self._streams = 0
            if self.client_no_context_takeover:
                self._decompressor = None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _answer(deflate: Deflate, server_bits: bool, client_bits: bool) -> str:
    parts = [NAME]
    if deflate.server_no_context_takeover:
        parts.append("server_no_context_takeover")
    if deflate.client_no_context_takeover:
        parts.append("client_no_context_takeover")
    if server_bits:
        parts.append(f"server_max_window_bits={deflate.server_max_window_bits}")
    if client_bits:
        parts.append(f"client_max_window_bits={deflate.client_max_window_bits}")
    return "; ".join(parts)


def _window_bits(value: str) -> int | None:
    """8 to 15 without leading zeros (RFC 7692, section 7.1.2), else None."""
    return int(value) if value in ("8", "9", "10", "11", "12", "13", "14", "15") else None


def _accept(parameters: Sequence[tuple[str, str | None]], window_bits: int, minimum_size: int) -> Deflate | None:
    """What we make of one offer; None declines it."""
    seen: dict[str, str | None] = {}
    for name, value in parameters:
        if name in seen:
            return None
        seen[name] = value
    server_bits = client_bits = 15
    server_asked = client_allows = False
    for name, value in seen.items():
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return None
        elif name == "server_max_window_bits":
            bits = _window_bits(value or "")
            if bits is None or bits == 8:  # zlib has no raw deflate with a window of 256 bytes
                return None
            server_bits, server_asked = bits, True
        elif name == "client_max_window_bits":
            if value is not None:
                bits = _window_bits(value)
                if bits is None:
                    return None
                client_bits = bits
            client_allows = True
        else:
            return None
    # Ours may be smaller than asked for, and may be told unasked (section 7.1.2.1); the client's only where it offers that.
    server_bits = min(server_bits, max(window_bits, 9))
    if client_allows:
        client_bits = min(client_bits, window_bits)
    deflate = Deflate(
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
        server_no_context_takeover="server_no_context_takeover" in seen,
        client_no_context_takeover="client_no_context_takeover" in seen,
        minimum_size=minimum_size,
    )
    deflate.answer = _answer(deflate, server_asked or server_bits < 15, client_allows)
    return deflate


def negotiate(offers: Iterable[Offer], *, window_bits: int = WINDOW_BITS, minimum_size: int = MINIMUM_SIZE) -> Deflate | None:
    """
    Accept the first of a client's offers that can be met.

    Args:
        offers: ``Handshake.extensions``; others than permessage-deflate are passed over.
        window_bits: 8 to 15, the largest window either side is to use, where the client lets us say so.
        minimum_size: bytes below which a message goes uncompressed.

    Returns:
        what was agreed on, for ``accept_response`` and ``WebSocketConnection``; None goes without compression.

    Source: RFC 7692, sections 5 and 7.1.
    """
    for name, parameters in offers:
        if name == NAME:
            deflate = _accept(parameters, window_bits, minimum_size)
            if deflate is not None:
                return deflate
    return None
