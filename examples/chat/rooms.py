"""
The rooms: who is connected, who hears a line, and who is told that somebody came or went.

A room is a group, and nothing is kept anywhere else: the workers share no memory, so the browsers hold the list of who is there,
and these consumers carry their messages. A newcomer is announced to the room; every browser there answers to the newcomer alone;
``websocket.disconnect`` tells the room who left. Browsers repeat that they are here now and then and forget who has been silent
for long, so that a lost message (a killed server, a full queue) mends itself.

    connect     Group(room).add, Group(one).add -> welcome to the newcomer, joined to the room
    receive     line -> the room;  here -> the room, or the newcomer it names;  reminder -> delay, noted to its author
    remind      what delay kept until now -> the room
    disconnect  discard both -> left to the room

Two that come at once find each other: both join the group before they announce themselves, so at least the later announcement
reaches the other, and is answered.
"""

import hashlib
import time

from shmchan import Group, Message, delay
from shmchan.exceptions import DenyConnection

from .frames import BadFrame, BadLine, Here, Reminder, checked_name, encode, parse_frame

UNSUPPORTED_DATA = 1003


def identity(message: Message) -> str:
    """The public id of a connection: the server makes it from the reply channel, so that no browser can speak as another."""
    return hashlib.sha256(message.reply_channel.name.encode()).hexdigest()[:16]


def everybody(room: str) -> Group:
    return Group(f"chat.room.{room}")


def one(identity: str) -> Group:
    """A group with one member: a name for a connection by which others can be allowed to reach it."""
    return Group(f"chat.one.{identity}")


def connect(message: Message, room: str, name: str) -> None:
    who, known_as = identity(message), checked_name(name)
    if known_as is None:
        raise DenyConnection
    everybody(room).add(message.reply_channel)
    one(who).add(message.reply_channel)
    message.reply_channel.send(encode("welcome", id=who))
    everybody(room).send(encode("joined", id=who, name=known_as))


def receive(message: Message, room: str, name: str) -> None:
    who, known_as = identity(message), name.strip()
    try:
        frame = parse_frame(message.get("text", ""))
    except BadFrame:
        message.reply_channel.send({"close": UNSUPPORTED_DATA})
        return
    except BadLine as refusal:
        message.reply_channel.send(encode("refused", ref=refusal.ref, reason=str(refusal)))
        return
    if isinstance(frame, Here):
        target = everybody(room) if frame.to is None else one(frame.to)
        target.send(encode("here", id=who, name=known_as))
    elif isinstance(frame, Reminder):
        content = {"room": room, "name": known_as, "text": frame.text, "ref": frame.ref}
        # A browser that lost its connection sends the line again: under the same id there is one reminder, not two.
        delay.send("chat.remind", content, delay=frame.seconds * 1000, id=f"chat.{room}.{frame.ref}")
        due = time.time_ns() // 1_000_000 + frame.seconds * 1000
        message.reply_channel.send(encode("noted", ref=frame.ref, due=due))
    else:
        at = time.time_ns() // 1_000_000
        everybody(room).send(encode("line", id=who, name=known_as, text=frame.text, ref=frame.ref, at=at))


def remind(message: Message) -> None:
    """It is time. Whoever asked may have another connection by now, so it is the room that hears of it."""
    at = time.time_ns() // 1_000_000
    fields = {key: message[key] for key in ("name", "text", "ref")}
    everybody(message["room"]).send(encode("reminder", at=at, **fields))


def disconnect(message: Message, room: str, name: str) -> None:
    who = identity(message)
    everybody(room).discard(message.reply_channel)
    one(who).discard(message.reply_channel)
    if checked_name(name) is not None:
        everybody(room).send(encode("left", id=who, name=name.strip()))
