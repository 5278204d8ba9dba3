"""
An echo server: the smallest program that uses a WebSocket, a group, a rejection and an HTTP request.

Run it with ``shmchan run examples.echo``. Every path echoes text and bytes; what is sent on ``/room/<name>`` goes to everybody
who is connected there; ``/deny`` is rejected with 403; any HTTP request is answered with a greeting. It runs in the workers and
keeps no state of its own: who is in a room is known to the channel layer.
"""

from shmchan import Group, Message, route
from shmchan.exceptions import DenyConnection

ROOM = r"/room/(?P<name>[A-Za-z0-9_-]{1,60})$"


def payload(message: Message) -> dict[str, str | bytes]:
    """What the client sent, as the message that sends it back: ``{"text": str}`` or ``{"bytes": bytes}``, never both."""
    kind = "text" if "text" in message else "bytes"
    return {kind: message[kind]}


def deny(message: Message) -> None:
    raise DenyConnection


def accept(message: Message) -> None:
    message.reply_channel.send({"accept": True})


def echo(message: Message) -> None:
    message.reply_channel.send(payload(message))


def enter_room(message: Message, name: str) -> None:
    Group(f"room.{name}").add(message.reply_channel)
    message.reply_channel.send({"accept": True})


def send_to_room(message: Message, name: str) -> None:
    Group(f"room.{name}").send(payload(message))


def leave_room(message: Message, name: str) -> None:
    Group(f"room.{name}").discard(message.reply_channel)


def greet(message: Message) -> None:
    headers = [[b"content-type", b"text/plain; charset=utf-8"]]
    message.reply_channel.send({"status": 200, "headers": headers, "content": b"Hello, world!"})


routing = [
    route("websocket.connect", deny, path=r"/deny$"),
    route("websocket.connect", enter_room, path=ROOM),
    route("websocket.receive", send_to_room, path=ROOM),
    route("websocket.disconnect", leave_room, path=ROOM),
    route("websocket.connect", accept),
    route("websocket.receive", echo),
    route("http.request", greet),
]
