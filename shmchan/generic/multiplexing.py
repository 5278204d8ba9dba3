"""
Several consumers on one WebSocket: `WebsocketDemultiplexer` takes its frames apart by stream, `WebsocketMultiplexer` sends them.

Owns the frame ``{"stream": str, "payload": ...}``, and the verdict on a connection that several consumers have a say in.
Applications import it as :mod:`shmchan.generic.websockets`. Workers and test clients run it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

from shmchan.asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from shmchan.channel import Channel, Group
from shmchan.exceptions import ChannelSocketException, ConsumeLater, ControlFlow, DenyConnection, SendNotAvailableOnDemultiplexer
from shmchan.generic.base import is_async, refuse_coroutine
from shmchan.generic.consumers import JsonWebsocketConsumer
from shmchan.jsontext import encode_json
from shmchan.layers import wire
from shmchan.layers.base import BaseChannelLayer, Item
from shmchan.layers.memories import Kept
from shmchan.message import Message
from shmchan.pending import Pending, current
from shmchan.routing import describe

Content = dict[str, Any]
log = logging.getLogger("shmchan.worker")


class WebsocketMultiplexer:
    """
    Sends on one stream of one connection.

    Args:
        stream: its name.
        reply_channel: the connection.
    """

    def __init__(self, stream: str, reply_channel: Channel) -> None:
        self.stream = stream
        self.reply_channel = reply_channel

    def send(self, payload: Any) -> None:
        """
        Send a frame with a payload to the client.

        Raises:
            TypeError, ValueError: JSON cannot say it.
        """
        self.reply_channel.send(self.encode(self.stream, payload))

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """The text of a frame; a subclass may encode more than JSON does by itself."""
        return encode_json(content)

    @classmethod
    def encode(cls, stream: str, payload: Any) -> dict[str, Any]:
        """The message with a payload on a stream."""
        return {"text": cls.encode_json({"stream": stream, "payload": payload})}

    @classmethod
    def group_send(cls, name: str, stream: str, payload: Any, close: bool | int = False) -> None:
        """Send a payload on a stream to everybody in a group; ``close``: and close their connections."""
        message = cls.encode(stream, payload)
        if close:
            message["close"] = close
        Group(name).send(message)


class WebsocketDemultiplexer(JsonWebsocketConsumer):
    """
    One WebSocket for several consumers, each with a stream of its own.

    Frames are ``{"stream": str, "payload": dict}``. A consumer is called with ``multiplexer=`` and sees messages as if the
    connection were its own: ``websocket.connect``, ``websocket.receive`` with its payload as JSON ``text``, and
    ``websocket.disconnect``. A frame that is none, or for an unknown stream, is logged and closes the connection with 1003.

    The connection is accepted when no consumer rejects it: `DenyConnection`, ``{"close": ...}`` or ``{"accept": False}`` of one,
    before it accepted itself, wins over every accept, and nothing else is sent to the client then. Headers of all accepts are
    sent, and the first subprotocol. A consumer that raises does not keep connect and disconnect from the others; then the
    exception goes on, and a connection is not accepted (500). Only what was sent with ``immediately=True`` cannot be held back.

    Attributes:
        consumers: classes or callables by stream.
        multiplexer_class: of the ``multiplexer`` they get.

    Raises:
        TypeError: when a subclass is made: one of its methods, or of the consumers, is ``async def``.
    """

    consumers: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    multiplexer_class: type[WebsocketMultiplexer] = WebsocketMultiplexer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for stream, consumer in cls.consumers.items():
            if is_async(consumer):
                raise TypeError(
                    f"the consumer of stream {stream!r} of {cls.__module__}.{cls.__qualname__} is `async def`, but the consumers "
                    f"of a demultiplexer are plain functions and classes; write `def`"
                )

    def connect(self, message: Message, **kwargs: Any) -> None:
        """Ask every consumer, and send one verdict."""
        verdict = _Verdict(self._reply_channel.name)
        failure: BaseException | None = None
        for stream in self.consumers:
            with _captured(message) as sent:
                failure = self._attempt(stream, message, kwargs, failure, verdict)
            verdict.add(sent.close().items)
            for layer, kind, name, payload in sent.elsewhere:
                _pass_on(layer, kind, name, wire.decode(payload), payload.keep if isinstance(payload, Kept) else 0)
        if isinstance(failure, ConsumeLater):
            raise failure
        for item in verdict.items(failed=failure is not None):
            _pass_on(_layer_of(message), *item)
        if failure is not None:
            raise failure

    def receive(self, content: Any, **kwargs: Any) -> None:
        """Give a frame to the consumer of its stream."""
        if not isinstance(content, dict) or not isinstance(content.get("stream"), str) or "payload" not in content:
            told = 'a frame is an object with a "stream" and a "payload"'
            self.refuse_frame('a frame that is not {"stream": str, "payload": dict}', told)
        elif not isinstance(content["payload"], dict):
            self.refuse_frame(f"a payload that is no object, on stream {content['stream']!r:.100}", "a payload is an object")
        elif content["stream"] not in self.consumers:
            self.refuse_frame(f"the unknown stream {content['stream']!r:.100}", "there is no stream of this name")
        else:
            self._pass_on_payload(content["stream"], content["payload"], kwargs)

    def _pass_on_payload(self, stream: str, payload: dict[str, Any], kwargs: dict[str, Any]) -> None:
        try:
            text = self.encode_json(payload)
        except (ValueError, RecursionError) as error:  # it is nested just as deep as could be read
            self.refuse_frame(f"a payload that JSON cannot say again, on stream {stream!r:.100}: {error}", "a frame is no JSON")
            return
        self._call(stream, _copy(self.message, {**self.message.content, "text": text}), kwargs)

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        """Tell every consumer; the first exception goes on when all were told."""
        failure: BaseException | None = None
        for stream in self.consumers:
            failure = self._attempt(stream, message, kwargs, failure, None)
        if failure is not None:
            raise failure

    def send(self, *args: Any, **kwargs: Any) -> NoReturn:
        """
        There is no stream to send on here: consumers send by the multiplexer they are given.

        Raises:
            SendNotAvailableOnDemultiplexer: always.
        """
        raise SendNotAvailableOnDemultiplexer

    @classmethod
    def group_send(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """
        There is no stream to send on here: `WebsocketMultiplexer.group_send` takes one.

        Raises:
            SendNotAvailableOnDemultiplexer: always.
        """
        raise SendNotAvailableOnDemultiplexer(
            "a WebsocketDemultiplexer cannot send; use WebsocketMultiplexer.group_send, with a stream"
        )

    def _call(self, stream: str, message: Message, kwargs: dict[str, Any]) -> None:
        multiplexer = self.multiplexer_class(stream, self._reply_channel)
        consumer = self.consumers[stream]
        try:
            refuse_coroutine(consumer(message, **{**kwargs, "multiplexer": multiplexer}), consumer)
        except Exception as error:
            if not isinstance(error, ControlFlow):  # which wishes something; the rest is logged, as the demultiplexer's
                error.add_note(f"It was the consumer of stream {stream!r}: {describe(consumer)}")
            raise

    def _attempt(
        self, stream: str, message: Message, kwargs: dict[str, Any], failure: BaseException | None, verdict: "_Verdict | None"
    ) -> BaseException | None:
        """Call one consumer, whatever the others did. Returns the exception that is to go on."""
        own = _copy(message, dict(message.content))
        try:
            try:
                self._call(stream, own, kwargs)
            except ChannelSocketException as wish:
                wish.run(own)
        except DenyConnection as denial:
            if verdict is None:
                return failure or denial
            verdict.deny()
        except BaseException as error:  # the first goes on when the others were told, the rest is logged
            if failure is None or (isinstance(error, ConsumeLater) and not isinstance(failure, ConsumeLater)):
                failure, error = error, failure
            if error is not None:
                log.error("the consumer of stream %r failed as another one did", stream, exc_info=error)
        return failure


class _Verdict:
    """What the consumers of one connection sent while it waits to be accepted: to it, and else."""

    def __init__(self, reply_channel: str) -> None:
        self.reply_channel = reply_channel
        self.rejection: Content | None = None
        self.accepted = False
        self.accept: Content = {"accept": True}
        self._sent: list[tuple[str, str, Content, int]] = []
        self._denied = False

    def deny(self) -> None:
        """The consumer whose sends come next raised DenyConnection: those to the connection do not count."""
        self._denied = True

    def add(self, items: list[Item]) -> None:
        """What one consumer sent. The first message to the connection that decides is its decision."""
        accepted = False
        denied, self._denied = self._denied, False
        if denied:
            self._reject({"close": True})
        for kind, name, payload in items:
            content = wire.decode(payload)
            if kind != "channel" or name != self.reply_channel:
                self._sent.append((kind, name, content, payload.keep if isinstance(payload, Kept) else 0))
                continue
            if denied:
                continue
            accepts = bool(content.get("text") or content.get("bytes") or content.get("accept"))
            if not accepted and not accepts and (content.get("close") or content.get("accept") is False):
                self._reject(content)
            else:
                accepted = accepted or accepts
                self._merge(content)
        self.accepted = self.accepted or accepted

    def items(self, failed: bool) -> Iterator[tuple[str, str, Content, int]]:
        """What goes out, and how long a history; of what was sent to the connection only the rejection, if any."""
        to_it = ("channel", self.reply_channel)
        if self.rejection is not None:
            yield (*to_it, self.rejection, 0)
        elif self.accepted and not failed:
            yield (*to_it, self.accept, 0)
        silent = failed or self.rejection is not None
        for item in self._sent:
            if not silent or item[:2] != to_it:
                yield item

    def _reject(self, content: Content) -> None:
        self.rejection = self.rejection or content

    def _merge(self, content: Content) -> None:
        """Put the part that accepts into the one accept, and keep the rest."""
        rest = dict(content)
        if rest.pop("accept", None):
            headers = rest.pop("headers", None)
            if isinstance(headers, list):
                self.accept.setdefault("headers", []).extend(headers)
            subprotocol = rest.pop("subprotocol", None)
            if subprotocol and self.accept.setdefault("subprotocol", subprotocol) != subprotocol:
                log.warning(
                    "two consumers of one connection chose different subprotocols; %r is used", self.accept["subprotocol"]
                )
        if rest:
            self._sent.append(("channel", self.reply_channel, rest, 0))


class _Captured(Pending):
    """What one of several consumers sends, kept back; what it sends at once is still noted where it is asked for."""

    __slots__ = ("outer",)

    def __init__(self, layer: BaseChannelLayer, outer: Pending | None) -> None:
        super().__init__(layer)
        self.outer = outer

    def note(self, name: str) -> None:
        super().note(name)
        if self.outer is not None:
            self.outer.note(name)


@contextmanager
def _captured(message: Message) -> Iterator[Pending]:
    """Collect what is sent within, instead of sending it."""
    pending = _Captured(_layer_of(message), current.get())
    token = current.set(pending)
    try:
        yield pending
    finally:
        current.reset(token)


def _pass_on(layer: BaseChannelLayer, kind: str, name: str, content: Content, history: int) -> None:
    """Send what was collected."""
    if kind == "group":
        Group(name, channel_layer=layer, history=history).send(content)
    else:
        Channel(name, channel_layer=layer).send(content)


def _layer_of(message: Message) -> BaseChannelLayer:
    return channel_layers[DEFAULT_CHANNEL_LAYER] if message.channel_layer is None else message.channel_layer


def _copy(message: Message, content: dict[str, Any]) -> Message:
    """A message for one consumer, with what decorators put on the whole one: its sessions and its user."""
    copy = Message(content, message.channel_name, message.channel_layer)
    for name, value in vars(message).items():
        if name not in vars(copy) and name not in ("channel", "reply_channel"):
            setattr(copy, name, value)
    return copy
