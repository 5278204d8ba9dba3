"""
Server-sent events: what a message with ``event``, ``data`` or ``id`` is on a response of type ``text/event-stream``.

Owns the keys of such messages, their bytes on the wire (HTML standard, section 9.2), and when a stream that is silent or old has
to be cared for. Decides nothing about a request, writes and logs nothing. Runs in the front.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shmchan.front.answers import EVENT_KEYS, RESPONSE_KEYS, WEBSOCKET_KEYS, Problem

KEEP_ALIVE = b":\n\n"
"""A comment, which browsers pass over, and which keeps proxies from taking the stream for dead."""

# What keeps caches and proxies from holding events back, where the application says nothing else.
_DEFAULTS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


@dataclass(slots=True)
class Event:
    """
    One message on a stream.

    Attributes:
        content: its bytes; empty if it is no event.
        problems: what was left out, or why it is none.
    """

    content: bytes = b""
    problems: list[Problem] = field(default_factory=list)


class EventStream:
    """
    The times of one stream, in seconds of the front's clock.

    Args:
        now: when it begins.
        interval: of the comments that keep it alive; None for none.
        ends_at: when it is old enough; browsers then come back by themselves.
    """

    __slots__ = ("_ends_at", "_interval", "_last", "_whole")

    def __init__(self, now: float, interval: float | None, ends_at: float) -> None:
        self._interval = interval
        self._ends_at = ends_at
        self._last = now
        self._whole = True

    def sent(self, content: bytes, now: float) -> None:
        """
        Something went out.

        What an application writes itself may end in the middle of an event: no comment may follow that.
        """
        self._last = now
        if content:
            self._whole = content.endswith((b"\n\n", b"\r\r", b"\r\n\r\n"))

    def next_deadline(self, now: float) -> float:
        """When to look at it again."""
        if self._interval is None:
            return self._ends_at
        due = self._last + self._interval
        return min(self._ends_at, due if due > now else now + self._interval)

    def needs_comment(self, now: float) -> bool:
        """Whether nothing went out for a whole interval, and something may."""
        return self._whole and self._interval is not None and now >= self._last + self._interval

    def is_old(self, now: float) -> bool:
        """Whether it has lasted long enough."""
        return now >= self._ends_at


def is_event_stream(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """
    Whether a response with these headers, checked already, is a stream of events.

    One that is compressed, or of a length that is known, is none: nothing of ours could stand between its bytes.
    """
    if any(name in (b"content-encoding", b"content-length") for name, _ in headers):
        return False
    kinds = [value for name, value in headers if name == b"content-type"]
    return bool(kinds) and kinds[-1].partition(b";")[0].strip().lower() == b"text/event-stream"


def with_defaults(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of a stream, with what keeps it from being held back."""
    given = {name for name, _ in headers}
    return [*headers, *(header for header in _DEFAULTS if header[0] not in given)]


def is_event(message: Mapping[str, Any]) -> bool:
    """Whether a message has a key of an event."""
    return not EVENT_KEYS.isdisjoint(message)


def read_event(message: Mapping[str, Any], group: bool) -> Event:
    """
    What a message is on a stream. Never raises: what is wrong is told, and then there is no event.

    Args:
        message: ``data`` str of any lines, ``event`` str, ``id`` str or int, ``retry`` milliseconds, ``comment`` str; each may be
            absent or None. An ``event`` without ``data`` has empty data, since browsers pass over one without any.
        group: whether it came through a group, where others may be meant by other keys.
    """
    event = Event()
    known = EVENT_KEYS | WEBSOCKET_KEYS | RESPONSE_KEYS if group else EVENT_KEYS
    for key in message:
        if key not in known:
            event.problems.append(("ignored.key", f"the key {key!r} means nothing to a stream of events"))
    try:
        lines = [
            *(f": {line}" for line in _lines(_value(message, "comment", str))),
            *_line("retry", _value(message, "retry", int)),
            *_line("id", _value(message, "id", str, int)),
            *_line("event", _value(message, "event", str)),
            *(f"data: {line}" for line in _lines(_value(message, "data", str))),
        ]
    except ValueError as error:
        event.problems.append(("bad.event", f"an event is dropped: {error}"))
        return event
    if message.get("event") is not None and message.get("data") is None:
        lines.append("data:")
    if lines:
        event.content = "\n".join([*lines, "", ""]).encode()
    return event


def _value(message: Mapping[str, Any], key: str, *kinds: type) -> Any:
    value = message.get(key)
    if value is not None and type(value) not in kinds:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{key} is {wanted}, this is a {type(value).__name__}")
    return value


def _lines(text: str | None) -> list[str]:
    """The lines of a text, whichever way they end; a stream knows all three."""
    return [] if text is None else text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _line(name: str, value: str | int | None) -> list[str]:
    """A field that has to fit on one line: a line break in it would begin another field, or another event."""
    if value is None:
        return []
    text = str(value)
    if not text.isprintable() and any(character in text for character in "\r\n\0"):
        raise ValueError(f"{name} is {value!r:.100}, which has a line break or a NUL; leave it out")
    if name == "retry" and int(value) < 0:
        raise ValueError(f"retry is {value}, it has to be 0 or more milliseconds")
    return [f"{name}: {text}"]
