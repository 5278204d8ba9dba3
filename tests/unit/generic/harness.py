"""One connection and the class-based consumers behind it, worked off on the in-memory layer."""

import json
from typing import Any

from shmchan import Message, channel_layers, route_class
from shmchan.layers import InMemoryChannelLayer
from shmchan.routing import RouteLike, Router
from shmchan.worker.consume import Handler

REPLY = "websocket.send.a!x"


class Connection:
    """A client of one routing; use it as a context."""

    def __init__(self, *routing: Any) -> None:
        routes: list[RouteLike] = [one if hasattr(one, "match") else route_class(one) for one in routing]
        self.layer = InMemoryChannelLayer()
        self.handler = Handler(self.layer, Router(routes))
        self.order = -1

    def __enter__(self) -> "Connection":
        self.before = channel_layers.set("default", self.layer)
        return self

    def __exit__(self, *exc_info: object) -> None:
        channel_layers.set("default", self.before)
        self.layer.close()

    def send(self, channel: str, **content: Any) -> list[dict[str, Any]]:
        """Have a worker consume one message on ``websocket.<channel>``; what the client then gets."""
        self.order += 1
        self.layer.send(f"websocket.{channel}", {"reply_channel": REPLY, "path": "/p", "order": self.order, **content})
        lease = self.layer.lease([f"websocket.{channel}"], 10.0)
        assert lease is not None
        assert self.handler.handle(lease) is None
        return self.replies()

    def frame(self, content: Any) -> list[dict[str, Any]]:
        """Send JSON in a text frame."""
        return self.send("receive", text=json.dumps(content))

    def replies(self) -> list[dict[str, Any]]:
        """What went to the client."""
        found = []
        while (message := self.layer.receive(["websocket.send.a!"])[1]) is not None:
            found.append(message)
        return found


def message(channel: str = "websocket.receive", **content: Any) -> Message:
    """A message that came from nowhere."""
    return Message({"reply_channel": REPLY, **content}, channel, InMemoryChannelLayer())
