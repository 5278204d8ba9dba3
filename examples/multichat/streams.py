"""
The WebSocket: one connection for all rooms, with two streams on it.

Owns the commands and the events. What a client is not allowed is told to it alone, as an ``error`` event on the stream of the
command. The workers run it.

========  ==========================================  =====================================================================
stream    from the browser                            to the browser
========  ==========================================  =====================================================================
`rooms`   ``{"command": "join", "room": slug}``       ``{"event": "welcome", "id", "you", "rooms"}`` after connecting
..        ``{"command": "leave", "room": slug}``      ``{"event": "joined", "room", "people"}``, ``{"event": "left", "room"}``
..                                                    ``{"event": "came" | "went", "room", "id", "name"}`` to all there
`talk`    ``{"command": "send", "room", "text",       ``{"event": "said", "room", "id", "name", "text", "ref", "at"}``
..        "ref"}``                                    to all there; `ref` is the browser's own name for the line
both                                                  ``{"event": "error", "code", "text", "room", "ref"}``
========  ==========================================  =====================================================================
"""

import re
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from shmchan import Message
from shmchan.generic.websockets import JsonWebsocketConsumer, WebsocketDemultiplexer, WebsocketMultiplexer

from .rooms import ROOMS, ClientError, connections_of, identity, room_for

LONGEST_LINE = 500
REF = re.compile(r"[A-Za-z0-9-]{1,40}")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class Stream(JsonWebsocketConsumer):
    """One stream. Its commands are in ``commands``; the method ``do_`` and the command does it."""

    commands: ClassVar[tuple[str, ...]] = ()

    def receive(self, content: Mapping[str, Any], multiplexer: WebsocketMultiplexer, **kwargs: Any) -> None:
        try:
            command = content.get("command")
            if command not in self.commands:
                raise ClientError("unknown_command", f"This stream knows {' and '.join(self.commands)}, nothing else.")
            getattr(self, f"do_{command}")(content, multiplexer)
        except ClientError as error:
            about = {key: content[key] for key in ("room", "ref") if isinstance(content.get(key), str)}
            multiplexer.send({"event": "error", "code": error.code, "text": str(error), **about})

    @property
    def me(self) -> dict[str, str]:
        """How others see this connection."""
        return {"id": identity(self.message.reply_channel), "name": self.message.user.name}

    @property
    def joined(self) -> list[str]:
        """The rooms that this connection is in."""
        rooms: list[str] = self.message.channel_session.get("rooms", [])
        return rooms


class Rooms(Stream):
    """Coming and going."""

    commands = ("join", "leave")

    def connect(self, message: Message, **kwargs: Any) -> None:
        """Let everybody in: a browser cannot see why a handshake was refused, but it can read what comes then."""
        super().connect(message, **kwargs)
        user = message.user
        you = None
        if user.is_authenticated:
            connections_of(message.http_session.session_key).add(message.reply_channel)
            message.channel_session["name"] = user.name
            you = {"name": user.name, "is_staff": user.is_staff}
        rooms = [vars(room) for room in ROOMS.values()]
        kwargs["multiplexer"].send({"event": "welcome", "id": identity(message.reply_channel), "you": you, "rooms": rooms})

    def do_join(self, content: Mapping[str, Any], multiplexer: WebsocketMultiplexer) -> None:
        room = room_for(self.message.user, content.get("room"))
        room.group.add(self.message.reply_channel)
        multiplexer.send({"event": "joined", "room": room.slug, "people": list(room.people())})
        if room.slug not in self.joined:
            self.message.channel_session["rooms"] = [*self.joined, room.slug]
            multiplexer.group_send(room.group.name, multiplexer.stream, {"event": "came", "room": room.slug, **self.me})

    def do_leave(self, content: Mapping[str, Any], multiplexer: WebsocketMultiplexer) -> None:
        room = room_for(self.message.user, content.get("room"))
        if room.slug not in self.joined:
            raise ClientError("not_joined", f"You are not in the {room.title}.")
        self.go(room.slug, self.me["name"], multiplexer)
        multiplexer.send({"event": "left", "room": room.slug})

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        for slug in self.joined:
            self.go(slug, message.channel_session["name"], kwargs["multiplexer"])

    def go(self, slug: str, name: str, multiplexer: WebsocketMultiplexer) -> None:
        """Take this connection out of a room, and tell those who stay."""
        self.message.channel_session["rooms"] = [other for other in self.joined if other != slug]
        group = ROOMS[slug].group
        group.discard(self.message.reply_channel)
        event = {"event": "went", "room": slug, "id": identity(self.message.reply_channel), "name": name}
        multiplexer.group_send(group.name, multiplexer.stream, event)


class Talk(Stream):
    """What is said."""

    commands = ("send",)

    def do_send(self, content: Mapping[str, Any], multiplexer: WebsocketMultiplexer) -> None:
        room = room_for(self.message.user, content.get("room"))
        if room.slug not in self.joined:
            raise ClientError("not_joined", f"You are not in the {room.title}. Join it first.")
        ref = content.get("ref")
        if not isinstance(ref, str) or not REF.fullmatch(ref):
            raise ClientError("bad_line", "A line needs a ref of letters, digits and hyphens.")
        said = {"room": room.slug, **self.me, "text": checked(content.get("text")), "ref": ref}
        multiplexer.group_send(room.group.name, multiplexer.stream, {"event": "said", **said, "at": time.time_ns() // 1_000_000})


def checked(text: object) -> str:
    """The line without control characters (tabs and new lines stay) and without white space around it."""
    line = CONTROL.sub("", text.encode("utf-8", "replace").decode()).strip() if isinstance(text, str) else ""
    if not line:
        raise ClientError("bad_line", "An empty line was not sent.")
    if len(line) > LONGEST_LINE:
        raise ClientError("bad_line", f"This line has {len(line)} characters, and {LONGEST_LINE} is the most.")
    return line


class Streams(WebsocketDemultiplexer):
    """Who is who comes from the handshake's cookie, by `users.load`."""

    http_user_and_session = True
    consumers: ClassVar[Mapping[str, type[Stream]]] = {"rooms": Rooms, "talk": Talk}
