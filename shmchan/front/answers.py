"""
What an application's messages to the front mean.

Owns the keys of ``websocket.send`` and ``http.response`` messages: which exist, what kind they are of, and what is wrong with a
message. Decides nothing about a connection, writes and logs nothing. Runs in the front.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shmchan import names
from shmchan.protocol.response import BadResponse
from shmchan.protocol.websocket import frame_bytes, frame_text, is_sendable_code

WEBSOCKET_KEYS = frozenset(
    ("accept", "text", "bytes", "close", "reason", "subprotocol", "headers", "status", "content", "history")
)
RESPONSE_KEYS = frozenset(("status", "headers", "content", "more_content", "closed_channel"))
EVENT_KEYS = frozenset(("event", "data", "id", "retry", "comment"))
"""Those of a server-sent event; see `shmchan.front.events`."""

Problem = tuple[str, str]
"""``(counter, text)``: something in a message that is left out, to be counted and logged."""


@dataclass(slots=True)
class Answer:
    """
    One message to a WebSocket.

    Attributes:
        accept: None if it does not say.
        frames: str and bytes, in the order in which they go out.
        close: a code that can be sent, or None.
        status, headers, content: of a rejection; headers of an acceptance too.
        problems: what was left out.
    """

    accept: bool | None = None
    frames: list[str | bytes] = field(default_factory=list)
    close: int | None = None
    reason: str = ""
    subprotocol: str | None = None
    status: int | None = None
    headers: Any = ()
    content: bytes | None = None
    problems: list[Problem] = field(default_factory=list)
    _prepared: list[bytes] | None = None

    @property
    def has_data(self) -> bool:
        """Whether it has a frame that is not empty, which accepts a handshake."""
        return any(self.frames)

    def prepared(self) -> list[bytes]:
        """The frames' bytes, made once for all who get them."""
        if self._prepared is None:
            self._prepared = [frame_text(frame) if isinstance(frame, str) else frame_bytes(frame) for frame in self.frames]
        return self._prepared


def read_answer(message: Mapping[str, Any], group: bool = False) -> Answer:
    """
    What a message to a WebSocket says. Never raises: what is wrong in it is left out and told.

    Args:
        group: whether it came through a group, where an event is meant for others.
    """
    answer = Answer()
    problems = answer.problems
    for key in message:
        if key not in WEBSOCKET_KEYS and not (group and key in EVENT_KEYS):
            problems.append(("ignored.key", f"the key {key!r} means nothing to a WebSocket"))
    answer.accept = _value(message, "accept", bool, problems)
    text: str | None = _value(message, "text", str, problems)
    data: bytes | None = _value(message, "bytes", bytes, problems)
    if text is not None:
        answer.frames.append(text)
    if data is not None:
        answer.frames.append(data)
        if text is not None:
            problems.append(("ignored.both", "text and bytes are in one message; text goes first"))
    place = _value(message, "history", dict, problems)
    if place is not None and answer.frames:
        answer.frames = [_with_place(place, text, data)]
    answer.reason = _value(message, "reason", str, problems) or ""
    answer.subprotocol = _value(message, "subprotocol", str, problems)
    answer.status = _value(message, "status", int, problems)
    answer.content = _value(message, "content", bytes, problems)
    answer.headers = message.get("headers") or ()
    close = message.get("close")
    if close is True:
        answer.close = 1000
    elif close:
        if type(close) is int and is_sendable_code(close):
            answer.close = close
        else:
            answer.close = 1011
            problems.append(("ignored.value", f"close is {close!r:.100}, which is no code that can be sent; 1011 is sent"))
    return answer


def _with_place(place: Mapping[str, Any], text: str | None, data: bytes | None) -> str:
    """One frame for what a history keeps, with where in it that stands; see docs/groups.md."""
    frame: dict[str, Any] = {"shmchan": {key: place.get(key) for key in ("group", "epoch", "offset")}}
    if text is not None:
        frame["text"] = text
    if data is not None:
        frame["bytes"] = base64.b64encode(data).decode()
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


@dataclass(slots=True)
class ResponsePart:
    """
    One message to an HTTP request.

    Attributes:
        status: None where there is none.
        closed_channel: where its sender waits to be told that nobody takes the rest; None if it does not.
    """

    status: Any
    headers: Any
    content: bytes
    more_content: bool
    closed_channel: str | None
    problems: list[Problem]


def read_response(message: Mapping[str, Any]) -> ResponsePart:
    """
    What a message to an HTTP request says.

    Raises:
        BadResponse: the content is no bytes.
    """
    problems = [
        ("ignored.key", f"the key {key!r} means nothing to an HTTP response") for key in message if key not in RESPONSE_KEYS
    ]
    content = message.get("content")
    if content is None:
        content = b""
    if not isinstance(content, bytes):
        raise BadResponse(f"content is bytes, this is a {type(content).__name__}; encode it")
    return ResponsePart(
        status=message.get("status"),
        headers=message.get("headers") or (),
        content=content,
        more_content=bool(message.get("more_content")),
        closed_channel=closed_channel(message, problems),
        problems=problems,
    )


def closed_channel(message: Mapping[str, Any], problems: list[Problem]) -> str | None:
    """The channel that a response's first message names, to be told on it when nobody takes the rest; None if there is none."""
    name = message.get("closed_channel")
    if name is None:
        return None
    try:
        return names.check_channel(name)
    except TypeError as error:
        problems.append(("ignored.value", f"closed_channel: {error}"))
        return None


def _value(message: Mapping[str, Any], key: str, kind: type, problems: list[Problem]) -> Any:
    value = message.get(key)
    if value is None or type(value) is kind:
        return value
    problems.append(("ignored.value", f"{key} is a {type(value).__name__}, not a {kind.__name__}"))
    return None
