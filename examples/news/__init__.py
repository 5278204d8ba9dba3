"""
Headlines two ways at once: server-sent events and a WebSocket in one group, on a page that the front serves by itself.

Run it in this folder, then open http://127.0.0.1:8000/news/ ::

    shmchan run examples.news --static /news=examples/news/page --js-path /shmchan.js

One message of the group is an event for the streams (``event``, ``data``, ``id``) and a frame for the WebSockets (``text``).
Stop the server and start it again: both come back by themselves, and what was typed meanwhile is sent then. Workers run this.
"""

import json
import time

from shmchan import Group, Message, route
from shmchan.exceptions import DenyConnection, WebsocketCloseException

LONGEST = 200
STREAM = {
    "status": 200,
    "headers": [[b"content-type", b"text/event-stream"]],
    "content": b"retry: 1000\n\n",  # milliseconds after which a browser comes back
    "more_content": True,
}


def events(message: Message) -> None:
    """A browser's EventSource: a response that does not end."""
    Group("news").add(message.reply_channel)
    message.reply_channel.send(STREAM)


def connect(message: Message) -> None:
    """A browser's WebSocketBridge."""
    Group("news").add(message.reply_channel)
    message.reply_channel.send({"accept": True})


def receive(message: Message) -> None:
    """A headline for everybody."""
    text = json.dumps({"headline": read_headline(message.get("text"))})
    Group("news").send({"event": "headline", "data": text, "id": time.time_ns() // 1_000_000, "text": text})


def refuse(message: Message) -> None:
    """Any other path: without this route the default one would accept it."""
    raise DenyConnection


def read_headline(frame: str | None) -> str:
    """
    The text of ``{"headline": str}``, without blanks around it.

    Raises:
        WebsocketCloseException: it is none; 4003, which the page takes for final.
    """
    try:
        headline = json.loads(frame or "")["headline"].strip()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise WebsocketCloseException(4003) from None
    if not 0 < len(headline) <= LONGEST:
        raise WebsocketCloseException(4003)
    return str(headline)


routing = [
    route("http.request", events, path=r"^/events$"),
    route("websocket.connect", connect, path=r"^/ws$"),
    route("websocket.receive", receive, path=r"^/ws$"),
    route("websocket.connect", refuse),
]
