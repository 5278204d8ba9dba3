"""
A reference decoder of WebSocket frames, a server's view: slow and obvious, one byte at a time (RFC 6455, section 5).

It says what csrc/frames/wsframe.c has to say, with the same names for errors, and after how many bytes. Test code only.
"""

import codecs
from dataclasses import dataclass, field

NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


class Utf8:
    """CPython's incremental decoder, which raises at the first byte that cannot belong to any text, but for surrogates."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes, final: bool = False) -> int:
        """How many bytes of ``data`` may belong to valid text; all of it and, if ``final``, the text may end there, or less."""
        for index in range(len(data)):
            pending = self.decoder.getstate()[0]
            # It takes ED A0 as the start of a surrogate, and raises at the third byte only.
            if pending == b"\xed" and data[index] >= 0xA0:
                return index
            try:
                self.decoder.decode(data[index : index + 1])
            except UnicodeDecodeError:
                return index
        return len(data) - 1 if final and self.decoder.getstate()[0] else len(data)


@dataclass
class Reference:
    """Feed it bytes; then read ``events``, ``error`` (None or its name) and ``error_at`` (bytes taken when it was known)."""

    max_size: int
    max_compressed: int = 0
    max_fragments: int = 1 << 17
    events: list[tuple[str, bool, bytes]] = field(default_factory=list)  # (name, compressed, payload), whole messages
    error: str | None = None
    error_at: int = 0
    _taken: int = 0
    _header: bytearray = field(default_factory=bytearray)
    _payload: bytearray | None = None  # of the frame under way; None in a header
    _length: int = 0
    _message: bytearray | None = None
    _message_name: str = ""
    _message_compressed: bool = False
    _fragments: int = 0
    _announced: int = 0
    _utf8: Utf8 = field(default_factory=Utf8)

    def feed(self, data: bytes) -> None:
        for byte in data:
            self._taken += 1
            if self._payload is None:
                self._header_byte(byte)
            else:
                self._payload_byte(byte)
            if self._payload is not None and len(self._payload) == self._length:
                self._frame_ends()

    def _fail(self, name: str) -> None:
        if self.error is None:
            self.error, self.error_at = name, self._taken

    @property
    def _opcode(self) -> int:
        return self._header[0] & 15

    @property
    def _fin(self) -> bool:
        return self._header[0] >= 128

    def _header_byte(self, byte: int) -> None:
        self._header.append(byte)
        if len(self._header) == 1:
            self._first_byte()
            return
        short = self._header[1] & 127
        extra = {126: 2, 127: 8}.get(short, 0)
        masked = self._header[1] >= 128
        if len(self._header) == 2:
            if not masked:
                self._fail("MASK")
            elif self._opcode >= 8 and short > 125:
                self._fail("CONTROL_LENGTH")
        if len(self._header) == 2 + extra:
            self._length = int.from_bytes(self._header[2 : 2 + extra], "big") if extra else short
            self._length_known(extra)
        if len(self._header) == 2 + extra + (4 if masked else 0):
            self._payload = bytearray()
            if self.error is None and self._opcode < 8:
                if self._opcode:
                    self._message = bytearray()
                    self._message_name = NAMES[self._opcode]
                    self._message_compressed = bool(self._header[0] & 64)
                    self._fragments = 0
                    self._announced = 0
                    self._utf8 = Utf8()
                else:
                    self._fragments += 1
                self._announced += self._length

    def _first_byte(self) -> None:
        rsv = self._header[0] & 0x70
        if self.max_compressed and self._opcode in (1, 2):
            rsv &= 0x30
        if rsv:
            self._fail("RSV")
        elif self._opcode not in NAMES:
            self._fail("OPCODE")
        elif self._opcode >= 8 and not self._fin:
            self._fail("CONTROL_FRAGMENTED")
        elif self._opcode == 0 and self._message is None:
            self._fail("NO_MESSAGE")
        elif self._opcode in (1, 2) and self._message is not None:
            self._fail("IN_MESSAGE")
        elif self._opcode == 0 and self._fragments == self.max_fragments:
            self._fail("FRAGMENTS")

    def _length_known(self, extra: int) -> None:
        if self.error is not None:
            return
        least = {0: 0, 2: 126, 8: 65536}[extra]
        if not least <= self._length < 1 << 63:
            self._fail("LENGTH")
        elif self._opcode == 0:
            if self._announced + self._length > (self.max_compressed if self._message_compressed else self.max_size):
                self._fail("TOO_BIG")
        elif self._opcode < 8 and self._length > (self.max_compressed if self._header[0] & 64 else self.max_size):
            self._fail("TOO_BIG")

    def _payload_byte(self, byte: int) -> None:
        assert self._payload is not None
        mask = self._header[-4:] if self._header[1] >= 128 else bytes(4)
        self._payload.append(byte ^ mask[len(self._payload) % 4])
        if self.error is None and self._opcode < 8:
            assert self._message is not None
            self._message.append(self._payload[-1])
            self._check_text(bytes(self._payload[-1:]))

    def _check_text(self, data: bytes, final: bool = False) -> None:
        if self._message_name == "text" and not self._message_compressed and self._utf8.feed(data, final) != len(data):
            self._fail("UTF8")

    def _frame_ends(self) -> None:
        assert self._payload is not None
        opcode, fin, payload = self._opcode, self._fin, bytes(self._payload)
        self._header.clear()
        self._payload = None
        if self.error is not None:
            # Failed before, so this is what the peer says to it; unless its own last byte was the fault.
            if opcode == 8 and fin and self.error_at < self._taken:
                self.events.append(("close", False, b""))
        elif opcode >= 8:
            self.events.append((NAMES[opcode], False, payload))
        elif fin:
            assert self._message is not None
            message, self._message = bytes(self._message), None
            self._check_text(b"", final=True)
            if self.error is None:
                self.events.append((self._message_name, self._message_compressed, message))


def client_frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes | None = b"\x12\x34\x56\x78"
) -> bytes:
    """A client's frame: masked unless ``mask`` is None, with the minimal length. ``rsv`` is 4 for RSV1, 2, 1."""
    length = len(payload)
    bit = 0 if mask is None else 128
    header = bytes([(128 if fin else 0) | rsv << 4 | opcode])
    if length < 126:
        header += bytes([bit | length])
    elif length < 65536:
        header += bytes([bit | 126]) + length.to_bytes(2, "big")
    else:
        header += bytes([bit | 127]) + length.to_bytes(8, "big")
    if mask is None:
        return header + payload
    return header + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
