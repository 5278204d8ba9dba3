"""Requests as messages over a layer in memory, and what came to their reply channel, as a front would drain it."""

from typing import Any

from shmchan.http import WsgiConsumer
from shmchan.layers.memory import InMemoryChannelLayer
from shmchan.message import Message

WATCHDOG = 30.0


class Exchange:
    """
    One request.

    Attributes:
        message: the ``http.request``.
        layer, port: what it goes over; the port takes its answers.
    """

    def __init__(self, **content: Any) -> None:
        self.layer = InMemoryChannelLayer()
        self.port = self.layer.open_port()
        self.reply_channel = self.port.new_reply_channel("http")
        given: dict[str, Any] = {
            "reply_channel": self.reply_channel,
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "query_string": b"",
            "root_path": "",
            "headers": [[b"host", b"example.org"]],
            "body": b"",
            "client": ["127.0.0.1", 40000],
            "server": ["127.0.0.1", 8000],
        }
        self.message = Message({**given, **content}, "http.request", self.layer)

    def run(self, app: Any, **options: Any) -> list[dict[str, Any]]:
        """Have a WSGI application answer it."""
        WsgiConsumer(app, **options)(self.message)
        return self.answers()

    def answers(self) -> list[dict[str, Any]]:
        """What came to the reply channel, and was not taken before."""
        batch = self.port.drain(1000)
        for channels, _ in batch:
            self.port.credit(channels[0])
        return [message for _, message in batch]

    def send_body(self, content: bytes = b"", more_content: bool = True, closed: bool = False) -> None:
        """Another piece on the body channel, which the message has to have."""
        piece = {"content": content, "more_content": more_content, "closed": closed}
        self.layer.send(self.message["body_channel"], piece)


def headers_of(answer: dict[str, Any]) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in answer["headers"]}


def content_of(answers: list[dict[str, Any]]) -> bytes:
    return b"".join(answer["content"] for answer in answers)
