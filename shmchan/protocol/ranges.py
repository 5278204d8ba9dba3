"""
Parts of a file: from a Range header to positions, and the framing of several parts in one response.

Owns what RFC 9110 (section 14) leaves to a server: more than `MOST` ranges, and ranges that overlap, are answered with the whole
file. Never sees a file or a socket. Runs in the front.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

MOST = 16

_SPEC = re.compile(rb"[ \t]*([0-9]{1,18})?-([0-9]{1,18})?[ \t]*")

Span = tuple[int, int]
"""Positions of the first byte, and of the one behind the last."""


def read_range(value: bytes, size: int) -> list[Span] | None:
    """
    The parts that a Range header asks for, in its order.

    Args:
        value: of the header.
        size: of the file, in bytes.

    Returns:
        None where the header does not count, as it is malformed, of another unit, or asks for too much; an empty list where
        nothing of what it asks for is there.
    """
    unit, equals, specs = value.partition(b"=")
    if not equals or unit.strip(b" \t").lower() != b"bytes" or size == 0:
        return None
    parts = [part for part in specs.split(b",") if part.strip(b" \t")]
    if not parts or len(parts) > MOST:
        return None
    spans: list[Span] = []
    for part in parts:
        found = _SPEC.fullmatch(part)
        if found is None or found[1] is found[2] is None:
            return None
        if found[1] is None:
            length = min(int(found[2]), size)
            if length:
                spans.append((size - length, size))
            continue
        first = int(found[1])
        if found[2] is not None and int(found[2]) < first:
            return None
        if first < size:
            spans.append((first, size if found[2] is None else min(int(found[2]) + 1, size)))
    ordered = sorted(spans)
    if any(later[0] < earlier[1] for earlier, later in pairwise(ordered)):
        return None
    return spans


def content_range(span: Span | None, size: int) -> bytes:
    """The value of Content-Range; None for a part that is not there."""
    return b"bytes */%d" % size if span is None else b"bytes %d-%d/%d" % (span[0], span[1] - 1, size)


def in_parts(spans: Sequence[Span], size: int, kind: bytes, boundary: bytes) -> list[bytes | Span]:
    """
    The content of a ``multipart/byteranges`` response: framing and positions, in turns.

    Args:
        spans: at least one.
        size: of the whole file.
        kind: its content type.
        boundary: what separates the parts; nothing in the file may look like it, so it is drawn by chance.
    """
    pieces: list[bytes | Span] = []
    for span in spans:
        head = b"\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n" % (boundary, kind, content_range(span, size))
        pieces += (head[2:] if not pieces else head, span)
    pieces.append(b"\r\n--%s--\r\n" % boundary)
    return pieces
