"""
The WebSocket opening handshake, server side (RFC 6455, section 4.2), as pure functions over header lists.

Owns the judgement of a client's upgrade request and the bytes of the 101 answer. It never parses HTTP itself (http.py does),
decides about origins or paths (consumers do), or keeps state. The front runs it.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shmchan.exceptions import ShmchanError
from shmchan.protocol.deflate import Deflate, Offer

__all__ = ["BadHandshake", "Handshake", "accept_key", "accept_response", "check_request", "choose_subprotocol", "is_upgrade"]

# Names are lower case, as in the front's messages.
Headers = Iterable[tuple[bytes, bytes]]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

# RFC 9110, sections 5.6.2 (token) and 5.6.4 (quoted-string); a list element of Sec-WebSocket-Extensions is made of them.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_IS_TOKEN = re.compile(_TOKEN)
_OWS = r"[ \t]*"
_EXTENSION = re.compile(rf"{_OWS}({_TOKEN}){_OWS}")
_PARAMETER = re.compile(rf';{_OWS}({_TOKEN}){_OWS}(?:={_OWS}(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"){_OWS})?')
_HEADER_NAME = re.compile(_TOKEN.encode())
_HEADER_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")

# What the handshake itself says; an application's headers cannot say it again.
_OWN_HEADERS = frozenset(
    [
        b"connection",
        b"content-length",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
    ]
)

# What a 426 says (RFC 9110, section 15.5.22).
_SWITCH = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]


class BadHandshake(ShmchanError):
    """
    A request that asks for a WebSocket in a wrong way; it is to be answered as HTTP and the connection closed.

    Attributes:
        status: 400, 405, or 426.
        headers: of the answer, ``[(name, value), ...]`` in bytes.
        text: the body of the answer, for the client's author.
    """

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]], text: str) -> None:
        self.status = status
        self.headers = list(headers)
        self.text = text
        super().__init__(text)


@dataclass(slots=True)
class Handshake:
    """
    A valid upgrade request.

    Attributes:
        key: the value of Sec-WebSocket-Key.
        version: 13.
        subprotocols: what the client offers, the preferred first.
        extensions: what it offers, ``[(name, [(parameter, value or None), ...]), ...]``, for ``deflate.negotiate``.
    """

    key: bytes
    version: int = 13
    subprotocols: list[str] = field(default_factory=list)
    extensions: list[Offer] = field(default_factory=list)


def _bad(text: str) -> BadHandshake:
    return BadHandshake(400, [], f"{text}\n")


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value.strip(b" \t") for other, value in headers if other == name]


def _elements(headers: Headers, name: bytes) -> list[bytes]:
    """The elements of a comma-separated list, over all its lines, without the empty ones (RFC 9110, section 5.6.1)."""
    return [element for value in _values(headers, name) for part in value.split(b",") if (element := part.strip(b" \t"))]


def is_upgrade(headers: Headers) -> bool:
    """Whether a request means to become a WebSocket, rightly or wrongly: ``Upgrade`` names it. ``check_request`` says more."""
    return any(element.lower() == b"websocket" for element in _elements(headers, b"upgrade"))


def check_request(headers: Sequence[tuple[bytes, bytes]], *, method: str = "GET", http_version: str = "1.1") -> Handshake:
    """
    Judge an upgrade request.

    Args:
        headers: ``[(name, value), ...]`` in bytes, names lower case, in order, with duplicates.
        method: of the request.
        http_version: such as ``"1.1"``.

    Raises:
        BadHandshake: answer with its status, headers and text.

    Source: RFC 6455, sections 4.2.1 and 4.4.
    """
    if method != "GET":
        raise BadHandshake(405, [(b"allow", b"GET")], "a WebSocket is opened with GET\n")
    if http_version != "1.1":
        raise _bad("a WebSocket is opened with HTTP/1.1")
    if not is_upgrade(headers):
        raise BadHandshake(426, _SWITCH, "the Upgrade header must say websocket\n")
    if not any(element.lower() == b"upgrade" for element in _elements(headers, b"connection")):
        raise _bad("the Connection header must say Upgrade")
    versions = _values(headers, b"sec-websocket-version")
    if len(versions) != 1:
        raise _bad("there must be one Sec-WebSocket-Version header")
    if versions[0] != b"13":
        answer = [(b"sec-websocket-version", b"13"), *_SWITCH]
        raise BadHandshake(426, answer, "only version 13 of the WebSocket protocol is spoken here\n")
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1:
        raise _bad("there must be one Sec-WebSocket-Key header")
    try:
        nonce = base64.b64decode(keys[0], validate=True)
    except binascii.Error:
        raise _bad("the Sec-WebSocket-Key is not base64") from None
    if len(nonce) != 16:
        raise _bad("the Sec-WebSocket-Key is not 16 bytes long")
    return Handshake(key=keys[0], subprotocols=_subprotocols(headers), extensions=_extensions(headers))


def _subprotocols(headers: Headers) -> list[str]:
    """Distinct tokens (RFC 6455, section 4.1, item 10)."""
    names = [element.decode("latin-1") for element in _elements(headers, b"sec-websocket-protocol")]
    for name in names:
        if not _IS_TOKEN.fullmatch(name):
            raise _bad(f"the Sec-WebSocket-Protocol {name!r} is not a token")
    if len(set(names)) != len(names):
        raise _bad("a Sec-WebSocket-Protocol is offered twice")
    return names


def _extensions(headers: Headers) -> list[Offer]:
    """The offered extensions with their parameters (RFC 6455, section 9.1)."""
    offers: list[Offer] = []
    for value in _values(headers, b"sec-websocket-extensions"):
        text = value.decode("latin-1")
        at = 0
        while at < len(text):
            match = _EXTENSION.match(text, at)
            if match is None:
                # Between commas there may be nothing (RFC 9110, section 5.6.1.2).
                if text[at] in ", \t":
                    at += 1
                    continue
                raise _bad("the Sec-WebSocket-Extensions header cannot be read")
            at = match.end()
            parameters: list[tuple[str, str | None]] = []
            while (parameter := _PARAMETER.match(text, at)) is not None:
                at = parameter.end()
                name, token, quoted = parameter.groups()
                parameters.append((name, token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)))
            offers.append((match.group(1), parameters))
            if at < len(text) and text[at] != ",":
                raise _bad("the Sec-WebSocket-Extensions header cannot be read")
            at += 1
    return offers


def choose_subprotocol(handshake: Handshake, supported: Sequence[str]) -> str | None:
    """The client's most preferred subprotocol among those supported (``--ws-protocol``), or None."""
    return next((name for name in handshake.subprotocols if name in supported), None)


def accept_key(key: bytes) -> bytes:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, section 4.2.2, item 5.4)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def accept_response(
    handshake: Handshake, subprotocol: str | None = None, headers: Headers = (), deflate: Deflate | None = None
) -> bytes:
    """
    The answer that opens the WebSocket; what follows it on the wire is frames.

    Args:
        handshake: from ``check_request``.
        subprotocol: one of ``handshake.subprotocols``, or None.
        headers: more headers of the application, ``(name, value)`` in bytes.
        deflate: from ``deflate.negotiate``, then also given to ``WebSocketConnection``.

    Raises:
        ValueError: a subprotocol the client did not offer, or a header that cannot be sent; the text names it.

    Source: RFC 6455, section 4.2.2.
    """
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        accept_key(handshake.key),
        b"\r\n",
    ]
    if subprotocol is not None:
        if subprotocol not in handshake.subprotocols:
            offered = ", ".join(handshake.subprotocols) or "none"
            raise ValueError(f"the client did not offer subprotocol {subprotocol!r} (it offers: {offered}); choose one it offers")
        lines += [b"Sec-WebSocket-Protocol: ", subprotocol.encode("ascii"), b"\r\n"]
    if deflate is not None:
        lines += [b"Sec-WebSocket-Extensions: ", deflate.answer.encode("ascii"), b"\r\n"]
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"header {name!r}: {value!r} cannot be sent; names are tokens, values have no control characters")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"header {name!r} belongs to the handshake; leave it out (subprotocol= chooses the protocol)")
        lines += [name, b": ", value, b"\r\n"]
    lines.append(b"\r\n")
    return b"".join(lines)
