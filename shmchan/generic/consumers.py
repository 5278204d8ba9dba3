"""
WebSockets as classes: `WebsocketConsumer`, and `JsonWebsocketConsumer` for those that speak JSON.

Owns what they do for every connection: groups, accepting, decoding. Applications import it as
:mod:`shmchan.generic.websockets`. Workers and test clients run it.
"""

import logging
from collections.abc import Iterable
from typing import Any, ClassVar

from shmchan.auth import channel_and_http_session_user_from_http, channel_session_user_from_http
from shmchan.channel import Channel, Group
from shmchan.exceptions import SendNotAvailableOnDemultiplexer
from shmchan.generic.base import BaseConsumer, Handler, refuse_coroutine
from shmchan.jsontext import decode_json, encode_json
from shmchan.message import Message
from shmchan.sessions.ordering import enforce_ordering

UNSUPPORTED_DATA = 1003  # RFC 6455, 7.4.1
log = logging.getLogger("shmchan.worker")


class WebsocketConsumer(BaseConsumer):
    """
    The messages of WebSockets. Write `connect`, `receive` and `disconnect`.

    Attributes:
        groups: names of groups that every connection is in; see `connection_groups`.
        http_user: whether ``message.user`` is who the browser's session says, and there is ``message.channel_session``.
        http_user_and_session: as http_user, and there is ``message.http_session``.
        strict_ordering: whether `enforce_ordering` is on its methods. Messages of the front are in order anyway.
        path: of the connection.
    """

    method_mapping: ClassVar[dict[str, str]] = {
        "websocket.connect": "raw_connect",
        "websocket.receive": "raw_receive",
        "websocket.disconnect": "raw_disconnect",
    }
    groups: Iterable[str] | None = None
    http_user: bool = False
    http_user_and_session: bool = False
    strict_ordering: bool = False
    _plain = (*BaseConsumer._plain, "connection_groups", "connect", "receive", "disconnect")

    def __init__(self, message: Message, **kwargs: Any) -> None:
        self.path: str | None = message.get("path")
        super().__init__(message, **kwargs)

    def get_handler(self, message: Message, **kwargs: Any) -> Handler:
        handler = super().get_handler(message, **kwargs)
        if self.http_user_and_session:
            handler = channel_and_http_session_user_from_http(handler)
        elif self.http_user:
            handler = channel_session_user_from_http(handler)
        if self.strict_ordering and "multiplexer" not in kwargs:  # there it is the demultiplexer's to wait
            handler = enforce_ordering(handler)
        return handler

    def connection_groups(self, **kwargs: Any) -> Iterable[str]:
        """The groups that this connection is in from its connect to its disconnect; asked at both."""
        return self.groups or ()

    def raw_connect(self, message: Message, **kwargs: Any) -> None:
        """Join the groups, then `connect`."""
        for group in self.connection_groups(**kwargs):
            Group(group, channel_layer=message.channel_layer).add(self._reply_channel)
        refuse_coroutine(self.connect(message, **kwargs), type(self))

    def connect(self, message: Message, **kwargs: Any) -> Any:
        """A client wants to connect. This accepts; an override must, too, by ``super().connect(message)`` or by what it sends."""
        self._reply_channel.send({"accept": True})

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """Take the message apart for `receive`."""
        if "text" in message:
            refuse_coroutine(self.receive(text=message["text"], **kwargs), type(self))
        else:
            refuse_coroutine(self.receive(bytes=message.get("bytes"), **kwargs), type(self))

    def receive(self, *args: Any, **kwargs: Any) -> Any:
        """
        The client sent a text or bytes: ``receive(self, text=None, bytes=None, **kwargs)`` is how to write it; one is None.
        """

    def raw_disconnect(self, message: Message, **kwargs: Any) -> None:
        """Leave the groups, then `disconnect`."""
        for group in self.connection_groups(**kwargs):
            Group(group, channel_layer=message.channel_layer).discard(self._reply_channel)
        refuse_coroutine(self.disconnect(message, **kwargs), type(self))

    def disconnect(self, message: Message, **kwargs: Any) -> Any:
        """The connection is over, rejected ones included; ``message["code"]`` says how. What is sent to it is dropped."""

    def send(self, text: str | None = None, bytes: bytes | None = None, close: bool | int = False) -> None:
        """
        Send a frame to the client.

        Args:
            text, bytes: what is in it: one of them.
            close: whether to close the connection afterwards, or the code to do it with.

        Raises:
            ValueError: neither text nor bytes is given.
            SendNotAvailableOnDemultiplexer: this consumer shares its connection; its ``multiplexer`` sends.
        """
        if "multiplexer" in self.kwargs:
            raise SendNotAvailableOnDemultiplexer(
                f"{type(self).__qualname__} shares its connection with other streams; send by the multiplexer it is given"
            )
        self._reply_channel.send(_frame(text, bytes, close))

    @classmethod
    def group_send(cls, name: str, text: str | None = None, bytes: bytes | None = None, close: bool | int = False) -> None:
        """
        Send a frame to everybody in a group.

        Args:
            name: the group's.
            text, bytes, close: as for `send`.

        Raises:
            ValueError: neither text nor bytes is given.
        """
        Group(name).send(_frame(text, bytes, close))

    def close(self, status: bool | int = True) -> None:
        """Close the connection, by this code if it is an int; where it is not accepted yet, reject it."""
        self._reply_channel.send({"close": status})

    @property
    def _reply_channel(self) -> Channel:
        channel: Channel | None = self.message.reply_channel
        if channel is None:
            raise ValueError(f"{type(self).__qualname__} got a message on {self.message.channel_name} without a reply_channel")
        return channel


class JsonWebsocketConsumer(WebsocketConsumer):
    """
    A WebSocket that carries JSON both ways. A frame that is none, or binary, is logged and closes the connection with 1003.
    """

    _plain = (*WebsocketConsumer._plain, "decode_json", "encode_json", "refuse_frame")

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """Decode the frame for `receive`."""
        text = message.get("text")
        if not isinstance(text, str):
            self.refuse_frame("a binary frame", "frames are JSON in text, none are binary")
            return
        try:
            content = self.decode_json(text)
        except (ValueError, RecursionError) as error:  # the latter comes from a decode_json of the application's own
            self.refuse_frame(f"a frame that is no JSON: {error}", "a frame is no JSON")
            return
        refuse_coroutine(self.receive(content, **kwargs), type(self))

    def refuse_frame(self, reason: str, told: str) -> None:
        """
        A frame is not what it must be: say so in the log, and close with 1003.

        Args:
            reason: for the log.
            told: for the client, in at most 123 bytes (RFC 6455, 5.5).
        """
        log.warning("%s at %r: the client is disconnected for %s", type(self).__qualname__, self.path, reason)
        self._reply_channel.send({"close": UNSUPPORTED_DATA, "reason": told})

    def receive(self, *args: Any, **kwargs: Any) -> Any:
        """The client sent this: ``receive(self, content, **kwargs)`` is how to write it."""

    def send(self, content: Any, close: bool | int = False) -> None:  # type: ignore[override]
        """Send anything that JSON can say; else as `WebsocketConsumer.send`."""
        super().send(text=self.encode_json(content), close=close)

    @classmethod
    def group_send(cls, name: str, content: Any, close: bool | int = False) -> None:  # type: ignore[override]
        """Send anything that JSON can say to everybody in a group."""
        WebsocketConsumer.group_send(name, text=cls.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text: str) -> Any:
        """What a text frame says. Raises ValueError if it is no JSON."""
        return decode_json(text)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """A text frame that says this. Raises TypeError or ValueError for what JSON cannot say."""
        return encode_json(content)


def _frame(text: str | None, data: bytes | None, close: bool | int) -> dict[str, Any]:
    if text is None and data is None:
        raise ValueError("send takes a text or bytes; to close without either, use close()")
    message: dict[str, Any] = {"text": text} if text is not None else {"bytes": data}
    if close:
        message["close"] = close
    return message
