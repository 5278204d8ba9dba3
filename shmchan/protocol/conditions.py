"""
Conditional requests: which of a file's validators meet what a client says it has.

Owns the reading of If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range and Accept-Encoding, as RFC 9110
(sections 13 and 12.5.3) wants it. Never sees a file, a socket or a clock. Runs in the front.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate, mktime_tz, parsedate_tz

Headers = Sequence[Sequence[bytes]]

_TAG = re.compile(rb'[ \t]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)')
_CODING = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;[ \t]*[qQ]=([01](?:\.[0-9]{0,3})?)[ \t]*)?")


@dataclass(frozen=True, slots=True)
class Validators:
    """
    What identifies the state of a file.

    Attributes:
        tag: its entity tag, with quotes, and ``W/`` if it is a weak one.
        modified: when it was last changed, in whole seconds since 1970.
    """

    tag: bytes
    modified: int

    @property
    def strong(self) -> bool:
        """Whether two answers with these validators are the same, byte for byte."""
        return not self.tag.startswith(b"W/")

    @property
    def date(self) -> bytes:
        """The value of Last-Modified."""
        return formatdate(self.modified, usegmt=True).encode()


def precondition(headers: Headers, validators: Validators) -> int | None:
    """
    The status that the conditions of a GET or HEAD lead to: 412, 304, or None for the file itself.

    Source: RFC 9110, 13.2.2, in its order. A malformed date is as if it were not there, of malformed tags none matches.
    """
    match = field(headers, b"if-match")
    if match is not None:
        if not _matches(match, validators, weakly=False):
            return 412
    else:
        until = _date(field(headers, b"if-unmodified-since"))
        if until is not None and validators.modified > until:
            return 412
    known = field(headers, b"if-none-match")
    if known is not None:
        return 304 if _matches(known, validators, weakly=True) else None
    since = _date(field(headers, b"if-modified-since"))
    return 304 if since is not None and validators.modified <= since else None


def range_allowed(headers: Headers, validators: Validators) -> bool:
    """Whether a Range header counts: there is no If-Range, or it names exactly this state (RFC 9110, 13.1.5)."""
    given = field(headers, b"if-range")
    if given is None:
        return True
    if not validators.strong:
        return False
    if given.endswith(b'"'):
        return given == validators.tag
    return _date(given) == validators.modified


def accepted_codings(headers: Headers) -> frozenset[bytes]:
    """The content codings that a client names and accepts, in lower case; ``*`` names none."""
    accepted = set()
    for part in (field(headers, b"accept-encoding") or b"").split(b","):
        found = _CODING.fullmatch(part)
        if found is not None and (found[2] is None or float(found[2]) > 0):
            accepted.add(found[1].lower())
    return frozenset(accepted)


def field(headers: Headers, name: bytes) -> bytes | None:
    """The value of a header, those of several lines joined by commas; None if there is none."""
    values = [header[1] for header in headers if header[0] == name]
    return b", ".join(values) if values else None


def _matches(given: bytes, validators: Validators, *, weakly: bool) -> bool:
    if given.strip(b" \t") == b"*":
        return True
    if not weakly and not validators.strong:
        return False
    own = validators.tag.removeprefix(b"W/")
    at = 0
    while at < len(given):
        found = _TAG.match(given, at)
        if found is None:
            return False
        tag = found[1]
        if (tag.removeprefix(b"W/") if weakly else tag) == own:
            return True
        at = found.end()
    return False


def _date(text: bytes | None) -> int | None:
    parsed = None if text is None else parsedate_tz(text.decode("latin-1"))
    if parsed is None:
        return None
    try:
        return int(mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None
