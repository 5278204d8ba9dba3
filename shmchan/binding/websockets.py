"""
`WebsocketBinding`: bindings whose clients are browsers that speak JSON.

Owns the payload ``{"action", "pk", "data", "model"}``, what many of them at once look like, and how a client is refused. Workers
run it, and every process whose changes are sent.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from shmchan.binding.base import Binding, Payload
from shmchan.binding.refusal import Refused
from shmchan.binding.values import jsonable
from shmchan.generic.base import Handler
from shmchan.generic.websockets import WebsocketMultiplexer
from shmchan.jsontext import decode_json, encode_json
from shmchan.message import Message
from shmchan.sessions.ordering import enforce_ordering

BATCH, REFUSED = "batch", "refused"
SINGLES = 16
"""Changes that one transaction tells a group of, each in a frame of its own; when there are more they share frames."""

PARTS = 16
"""Frames that they share, as long as these do not get longer than LONGEST; a client's queue holds 100 by default."""

SHORTEST, LONGEST = 64 << 10, 512 << 10
"""Characters of such a frame; many clients take no more than a MiB."""

LONGEST_KEPT = 60_000
"""Of one that is kept in a history, which keeps none beyond 65,000 bytes."""


class WebsocketBinding(Binding):
    """
    A binding over WebSockets, one stream of a `WebsocketDemultiplexer`. Write `group_names`, and `has_permission` for the way in.

    What clients are told of a row is ``{"action": "create" | "update" | "delete", "pk", "data": {field: value}, "model"}``; the
    data of a delete are those that the client saw last. When one transaction changes more than 16 rows in the same way for one
    group, they come as ``{"action": "batch", "part": 1, "parts": 3, "changes": [such payloads], "model"}``: client queues are
    bounded, and a part that is missing shows.

    Clients send the same without ``model``, and may add a ``ref``. Who is refused is told
    ``{"action": "refused", "refused": action, "pk", "ref", "reason", "errors": {field: reason}, "model"}``, alone.

    Attributes:
        strict_ordering: whether `enforce_ordering` is on the way in. Messages of the front are in order anyway.

    Raises:
        ValueError: when the class is made: it has a model and no stream.
    """

    strict_ordering: ClassVar[bool] = False
    _asked: Payload | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls.model is not None and not cls.stream:
            raise ValueError(f"{cls.__qualname__} has no stream; name one, by which clients tell it from other bindings")
        super().__init_subclass__(**kwargs)

    # --- the way out

    @classmethod
    def encode(cls, stream: str | None, payload: Payload) -> dict[str, Any]:
        return WebsocketMultiplexer.encode(stream or "", payload)

    def serialize(self, instance: Any, action: str) -> Payload:
        return {
            "action": action,
            "pk": self.backend().pk(instance),
            "data": self.serialize_data(instance),
            "model": self.model_label(),
        }

    def pack(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        if len(payloads) <= SINGLES:
            return payloads
        parts = list(_parts(payloads, LONGEST_KEPT if self.history else LONGEST))
        return [
            {"action": BATCH, "part": number, "parts": len(parts), "changes": part, "model": self.model_label()}
            for number, part in enumerate(parts, 1)
        ]

    # --- the way in

    @classmethod
    def consumer(cls, message: Message, **kwargs: Any) -> None:
        """As `Binding.consumer`; it accepts connections, and has nothing to do when they end."""
        if message.channel_name == "websocket.connect":
            assert message.reply_channel is not None
            message.reply_channel.send({"accept": True})
        elif message.channel_name != "websocket.disconnect":
            super().consumer(message, **kwargs)

    @classmethod
    def get_handler(cls) -> Handler:
        handler = super().get_handler()
        return enforce_ordering(handler) if cls.strict_ordering else handler

    def deserialize(self, message: Message) -> tuple[object, object, object]:
        try:
            asked = decode_json(message["text"])
        except (KeyError, ValueError):
            raise Refused("a change is a JSON object in a text frame") from None
        if not isinstance(asked, dict):
            raise Refused("a change is a JSON object")
        self._asked = asked
        return asked.get("action"), asked.get("pk"), asked.get("data")

    def refuse(self, refusal: Refused) -> None:
        asked = self._asked or {}
        payload = {
            "action": REFUSED,
            "refused": asked.get("action"),
            "pk": asked.get("pk"),
            "ref": asked.get("ref"),
            "reason": refusal.reason,
            "errors": refusal.errors,
            "model": self.model_label(),
        }
        try:
            told = self.encode(self.stream, payload)
        except ValueError:  # what the client sent is nested as deep as could be read, and cannot be said again
            told = self.encode(self.stream, {**payload, "refused": None, "pk": None, "ref": None})
        assert self.message.reply_channel is not None
        self.message.reply_channel.send(told)


class WebsocketBindingWithMembers(WebsocketBinding):
    """
    As `WebsocketBinding`, with more than fields in the data.

    Attributes:
        send_members: names of attributes, properties and methods without arguments; ``a.b`` is member b of member a, and is
            called ``a__b`` in the data.
    """

    send_members: ClassVar[Sequence[str]] = ()

    def serialize_data(self, instance: Any) -> Payload:
        data = super().serialize_data(instance)
        for path in self.send_members:
            member = instance
            for name in path.split("."):
                member = getattr(member, name)
            data[path.replace(".", "__")] = jsonable(member() if callable(member) else member, path)
        return data


def _parts(payloads: Sequence[Payload], longest: int) -> Iterator[list[Payload]]:
    """The same payloads in pieces, of a size such that there are about PARTS."""
    sizes = [len(encode_json(payload)) for payload in payloads]
    limit = min(longest, max(SHORTEST, sum(sizes) // PARTS + 1))
    part: list[Payload] = []
    size = 0
    for payload, length in zip(payloads, sizes, strict=True):
        if part and size + length > limit:
            yield part
            part, size = [], 0
        part.append(payload)
        size += length
    yield part
