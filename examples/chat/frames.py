"""
What a browser may say, and what the server says: JSON objects with a ``type``, one a WebSocket frame.

This module turns text into checked values and values into text. It never sends anything, so that every rule about input from
outside stands here. It runs in the workers.

From the browser::

    {"type": "line", "text": str, "ref": str}    a line for the room; ref is the browser's own name for it.
                                                 "/remind 10m tea" is none: the room is reminded in ten minutes
    {"type": "here"}                             still here, for everybody
    {"type": "here", "to": id}                   the same, for one who has just come

To the browser::

    {"type": "welcome", "id": id}                             you are connected, and this is you
    {"type": "joined" | "here" | "left", "id": id, "name": str}
    {"type": "line", "id": id, "name": str, "text": str, "ref": str, "at": milliseconds since 1970}
    {"type": "refused", "ref": str, "reason": str}            this line was not sent on
    {"type": "noted", "ref": str, "due": milliseconds}        there will be a reminder
    {"type": "reminder", "name": str, "text": str, "ref": str, "at": milliseconds}    and here it is; name is who asked for it
"""

import json
import re
from dataclasses import dataclass

MAX_LINE = 500
MAX_NAME = 30
ROOM = r"[a-z0-9-]{1,30}"
ID = r"[0-9a-f]{16}"
REF = r"[A-Za-z0-9-]{1,40}"
REMIND = re.compile(r"/remind\s+(\d{1,6})\s*([smhd])\s+(\S.*)", re.DOTALL)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_REMIND = 366 * 86400
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class BadFrame(Exception):
    """No frame of this chat. The page never sends one, so the connection is closed with 1003."""


class BadLine(Exception):
    """A line that is refused. Its text is for the person who typed it.

    Attributes:
        ref: the browser's name for the line.
    """

    def __init__(self, ref: str, reason: str) -> None:
        super().__init__(reason)
        self.ref = ref


@dataclass(frozen=True)
class Line:
    text: str
    ref: str


@dataclass(frozen=True)
class Reminder:
    """``seconds``: until the room is reminded of the text."""

    seconds: int
    text: str
    ref: str


@dataclass(frozen=True)
class Here:
    """``to``: the id of the newcomer this is for; None: everybody."""

    to: str | None


def parse_frame(text: str) -> Line | Reminder | Here:
    """
    The checked content of one text frame.

    Raises:
        BadFrame: no JSON object, an unknown type, or a field that is missing or of another kind.
        BadLine: a well-formed line that is empty or longer than MAX_LINE characters.
    """
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFrame("no JSON") from error
    match frame:
        case {"type": "line", "text": str(line), "ref": str(ref)} if re.fullmatch(REF, ref):
            return line_or_reminder(checked_line(line, ref), ref)
        case {"type": "here", "to": str(to)} if re.fullmatch(ID, to):
            return Here(to)
        case {"type": "here", **rest} if "to" not in rest:
            return Here(None)
    raise BadFrame("no frame of this chat")


def line_or_reminder(text: str, ref: str) -> Line | Reminder:
    """What a checked line is."""
    if text.split(maxsplit=1)[0] != "/remind":
        return Line(text, ref)
    found = REMIND.fullmatch(text)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if found is None or not 0 < seconds <= MAX_REMIND:
        raise BadLine(ref, "Write it like /remind 10m tea. After the number stands s, m, h or d; a year is the most.")
    return Reminder(seconds, found[3], ref)


def checked_line(text: str, ref: str) -> str:
    """The line without control characters (tabs and new lines stay) and without white space around it."""
    line = CONTROL.sub("", text.encode("utf-8", "replace").decode()).strip()
    if not line:
        raise BadLine(ref, "An empty line was not sent.")
    if len(line) > MAX_LINE:
        raise BadLine(ref, f"This line has {len(line)} characters, and {MAX_LINE} is the most. Please send it in parts.")
    return line


def checked_name(name: str) -> str | None:
    """The name without white space around it; None if it is empty, too long or has control characters."""
    name = name.strip()
    return name if 0 < len(name) <= MAX_NAME and name.isprintable() else None


def encode(kind: str, **fields: str | int) -> dict[str, str]:
    """The message for a reply channel or a group that is this frame in the browser."""
    return {"text": json.dumps({"type": kind, **fields}, ensure_ascii=False)}
