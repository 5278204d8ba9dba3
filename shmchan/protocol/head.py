"""
The head of an HTTP/1.x request: from bytes to names, or a refusal with its status.

Owns what a well-formed head is: httptools (llhttp, strict) reads it, and what two servers could read differently is refused on
top of that, so that nothing can be smuggled past a proxy. Never sees a body, a socket or a clock. Runs in the front.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import httptools

from shmchan.exceptions import ShmchanError

_REQUEST_LINE = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/1\.([01])")
_OTHER_VERSION = re.compile(rb".* HTTP/(?!1\.[01]$)[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#@]+)((?:[/?][^#]*)?)")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_END = b"\r\n\r\n"

# What llhttp says of another version, and of the preface of HTTP/2. Without these texts it would be a 400, no more.
_VERSION_REASONS = frozenset(("Invalid HTTP version", "Pause on PRI/Upgrade", "Expected HTTP/2 Connection Preface"))


class BadRequest(ShmchanError):
    """What the client sent is refused with ``status``; the connection does not survive it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Sizes in bytes: of the target (else 414), of everything before the body (else 431), and how many headers (else 431)."""

    target: int = 16 << 10
    head: int = 64 << 10
    headers: int = 200


@dataclass(slots=True)
class RequestHead:
    """
    One request without its body.

    ``target`` is as it was sent; ``path`` is percent-decoded and without the query; ``headers`` are ``[name, value]`` in lower
    case, in order, duplicates kept, names with ``_`` left out, because applications cannot tell them from names with ``-``.
    ``content_length`` is None when there is none; ``upgrade`` says that a WebSocket is asked for.
    """

    method: str
    target: bytes
    path: str
    query_string: bytes
    http_version: str
    headers: list[list[bytes]]
    content_length: int | None
    chunked: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: bool


class HeadReader:
    """
    Reads one head. ``feed`` until ``head`` is not None, then take a new reader.

    The search for the empty line keeps the parser from running into the body or the next request, which is how one request at a
    time is handed on. Handing llhttp the piece as it comes finds what is malformed at once, not when the head is complete.
    """

    __slots__ = ("_complete", "_headers", "_limits", "_parser", "_raw", "_target", "head", "skipped")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._raw = b""
        self._target = b""
        self._headers: list[list[bytes]] = []
        self._complete = False
        self._parser = httptools.HttpRequestParser(self)
        self.head: RequestHead | None = None
        self.skipped = 0

    @property
    def begun(self) -> bool:
        """Whether any byte of a head was seen."""
        return bool(self._raw)

    def feed(self, data: bytes) -> int:
        """
        Read as much of ``data`` as belongs to this head.

        Returns:
            how many bytes that was; all, as long as ``head`` is None.

        Raises:
            BadRequest: it is no request, or too large.
        """
        start = 0
        if not self._raw:
            # RFC 9112 2.2: empty lines before the request line are ignored.
            start = len(data) - len(data.lstrip(b"\r\n"))
            self.skipped += start
            if self.skipped > 1024:
                raise BadRequest(400, "nothing but empty lines before the request")
        before = len(self._raw)
        raw = self._raw + data[start:]
        if not raw:
            return len(data)
        end = raw.find(_END, max(before - 3, 0))
        piece = raw[before:] if end < 0 else raw[before : end + 4]
        self._raw = raw if end < 0 else raw[: end + 4]
        failure: httptools.HttpParserError | None = None
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # the head is complete; what it asks for is looked at below
        except httptools.HttpParserError as error:
            failure = error
        self._check_sizes(end)
        if failure is not None:
            raise BadRequest(505 if str(failure) in _VERSION_REASONS else 400, str(failure) or "no HTTP request")
        if end >= 0 or self._complete:
            if end < 0 or not self._complete:
                raise self._refusal("the head ends in an unclear way")
            self.head = self._read_head()
        return start + len(piece)

    def clear(self) -> None:
        """Let go of what was read; the reader is of no use afterwards."""
        self._raw = self._target = b""
        self._headers = []
        self.head = None

    # httptools calls these while it is fed ---------------------------------------------------------------------------------

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append([name.lower(), value.strip(b" \t")])

    def on_headers_complete(self) -> None:
        self._complete = True

    # ------------------------------------------------------------------------------------------------------------------------

    def _check_sizes(self, end: int) -> None:
        limits = self._limits
        line = self._raw.find(b"\r\n")
        if (len(self._raw) if line < 0 else line) > limits.target + 32:
            raise BadRequest(414, f"the request line is longer than {limits.target} bytes")
        if len(self._raw) - len(self._target) > limits.head or len(self._headers) > limits.headers:
            raise BadRequest(431, f"the head has more than {limits.head} bytes or {limits.headers} headers")

    def _refusal(self, reason: str) -> BadRequest:
        """Of a head that is complete, for what its first line says or else for this reason."""
        if _OTHER_VERSION.fullmatch(self._raw.partition(b"\r\n")[0]):
            return BadRequest(505, "this is a server of HTTP/1.1")
        return BadRequest(400, reason)

    def _read_head(self) -> RequestHead:
        line = self._raw.partition(b"\r\n")[0]
        matched = _REQUEST_LINE.fullmatch(line)
        if matched is None:
            raise self._refusal("the request line is malformed")
        modern = matched.group(1) == b"1"
        method = line.partition(b" ")[0].decode("ascii")
        if method == "CONNECT":
            raise BadRequest(501, "this server is no proxy")
        fields: dict[bytes, list[bytes]] = {}
        for name, value in self._headers:
            fields.setdefault(name, []).append(value)
        raw_path, query = self._split_target(method, fields)
        length, chunked = _framing(fields, modern)
        connection = _tokens(fields.get(b"connection"))
        upgrade = modern and b"upgrade" in connection and b"websocket" in _tokens(fields.get(b"upgrade"))
        if upgrade and (chunked or length):
            raise BadRequest(400, "a WebSocket handshake has no body")
        expect = _tokens(fields.get(b"expect")) if modern else []
        if expect and expect != [b"100-continue"]:
            raise BadRequest(417, "the expectation is unknown")
        return RequestHead(
            method=method,
            target=self._target,
            path=unquote_to_bytes(raw_path).decode("utf-8", "replace"),
            query_string=query,
            http_version="1.1" if modern else "1.0",
            headers=[header for header in self._headers if b"_" not in header[0]],
            content_length=length,
            chunked=chunked,
            keep_alive=b"close" not in connection if modern else b"keep-alive" in connection,
            expects_continue=bool(expect),
            upgrade=upgrade,
        )

    def _split_target(self, method: str, fields: dict[bytes, list[bytes]]) -> tuple[bytes, bytes]:
        """The path, still encoded, and the query (RFC 9112 3.2: origin-form, absolute-form, ``*`` for OPTIONS; one Host)."""
        target = self._target
        hosts = fields.get(b"host", [])
        if len(hosts) > 1 or (not hosts and not self._raw.partition(b"\r\n")[0].endswith(b"1.0")):
            raise BadRequest(400, "there has to be one Host header")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise BadRequest(400, "the Host header is malformed")
        if target == b"*" and method == "OPTIONS":
            return b"*", b""
        if b"#" in target:
            raise BadRequest(400, "the target has a fragment")
        if not target.startswith(b"/"):
            absolute = _ABSOLUTE.fullmatch(target)
            if absolute is None or not _HOST.fullmatch(absolute.group(1)):
                raise BadRequest(400, "the target is malformed")
            # RFC 9112 3.2.2: the host of the target counts, the header is ignored.
            self._headers = [header for header in self._headers if header[0] != b"host"]
            self._headers.insert(0, [b"host", absolute.group(1)])
            target = absolute.group(2)
            if not target.startswith(b"/"):
                target = b"/" + target
        path, _, query = target.partition(b"?")
        return path, query


def _framing(fields: dict[bytes, list[bytes]], modern: bool) -> tuple[int | None, bool]:
    """
    How long the body is: ``(content length, chunked)``.

    RFC 9112 6.1 and 6.3 leave a server some choices here; each of them is made so that no proxy in front can see another end of
    the body. llhttp refuses most of this too; it is checked again, because its version is not ours to choose.
    """
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    if codings is not None:
        if lengths is not None or not modern:
            raise BadRequest(400, "Transfer-Encoding beside Content-Length, or in HTTP/1.0")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            final = codings[-1].lower().rpartition(b",")[2].strip(b" \t")
            raise BadRequest(
                501 if final == b"chunked" and len(codings) == 1 else 400, "the only transfer coding here is chunked"
            )
        return None, True
    if lengths is None:
        return None, False
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise BadRequest(400, "Content-Length is no number, or is there twice")
    return int(lengths[0]), False


def _tokens(values: list[bytes] | None) -> list[bytes]:
    """The comma-separated tokens of a header in lower case, over all its lines."""
    if values is None:
        return []
    return [token for value in values for part in value.split(b",") if (token := part.strip(b" \t").lower())]
