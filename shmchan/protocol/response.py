"""
The head of an HTTP response: from status and headers to bytes.

Owns what may be written: a header that would begin a line of its own is refused, and the framing headers are ours alone, so that
what the client reads is always as long as it was told. Never sees a socket or a clock. Runs in the front.
"""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from shmchan.exceptions import ShmchanError

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

# Headers that say how the message is framed. Only the connection writes them.
FRAMING = frozenset((b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"content-length"))


class BadResponse(ShmchanError):
    """What the application answered cannot be sent; the text says what to change."""


def check_status(status: Any) -> int:
    """The status, if it ends a request: an int from 200 to 599. Raises BadResponse."""
    if type(status) is not int or not 200 <= status <= 599:
        raise BadResponse(f"the status of a response is an int from 200 to 599, this is {status!r}")
    return status


def check_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    """
    The headers as pairs of bytes, the names in lower case.

    Args:
        headers: pairs of bytes, or of str, which is taken as latin-1.

    Raises:
        BadResponse: one of them is no header, or holds a line break or a NUL.
    """
    if not isinstance(headers, Sequence) or isinstance(headers, (str, bytes)):
        raise BadResponse(f"headers are a list of [name, value], this is a {type(headers).__name__}")
    checked = []
    for header in headers:
        if not isinstance(header, (list, tuple)) or len(header) != 2:
            raise BadResponse(f"a header is [name, value], this is {header!r:.100}")
        name, value = _octets(header[0]), _octets(header[1])
        if not _NAME.fullmatch(name):
            raise BadResponse(f"{name!r:.100} is no name of a header")
        if _FORBIDDEN.search(value):
            raise BadResponse(
                f"the value of {name.decode()} holds a control character; encode it, a line break would begin a new header"
            )
        checked.append((name.lower(), value.strip(b" \t")))
    return checked


def response_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes up to and with the empty line, from what :func:`check_status` and :func:`check_headers` let through."""
    lines = [_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
    for name, value in headers:
        lines.append(b"%s: %s\r\n" % (name, value))
    lines.append(b"\r\n")
    return b"".join(lines)


def phrase(status: int) -> str:
    """What a status is called; empty if nobody named it."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def has_body(method: str, status: int) -> bool:
    """Whether bytes follow the head. RFC 9110 6.4.1."""
    return method != "HEAD" and status not in (204, 304)


def _octets(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            raise BadResponse(f"{value!r:.100} in a header is not latin-1; encode it") from None
    raise BadResponse(f"names and values of headers are bytes, this is a {type(value).__name__}")
