"""WebSockets as classes: accepting, groups, frames, JSON, flags."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shmchan import Message
from shmchan.generic.websockets import JsonWebsocketConsumer, WebsocketConsumer
from tests.unit.generic.harness import REPLY, Connection, message


class Echo(WebsocketConsumer):
    groups = ("everybody",)

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
        self.send(text=text, bytes=bytes, close=text == "bye")

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        type(self).group_send("everybody", text=f"{self.path} left")


class Json(JsonWebsocketConsumer):
    def receive(self, content: Any, **kwargs: Any) -> None:
        self.send({"got": content})


def test_a_connection_is_accepted_and_in_its_groups_until_it_ends() -> None:
    with Connection(Echo) as client:
        assert client.send("connect") == [{"accept": True}]
        assert client.layer.group_channels("everybody") == [REPLY]
        Echo.group_send("everybody", text="all", close=4000)
        Echo.group_send("everybody", bytes=b"all")
        assert client.replies() == [{"text": "all", "close": 4000}, {"bytes": b"all"}]
        client.layer.group_add("everybody", "other")
        assert client.send("disconnect", code=1000) == []
        assert client.layer.group_channels("everybody") == ["other"]
        assert client.layer.receive(["other"])[1] == {"text": "/p left"}


def test_every_step_may_be_overridden() -> None:
    steps: list[str] = []

    def step(name: str) -> Any:
        def overriding(self: Echo, *args: Any, **kwargs: Any) -> Any:
            steps.append(name)
            return getattr(super(type(self), self), name)(*args, **kwargs)

        return overriding

    names = ("dispatch", "get_handler", "raw_connect", "raw_receive", "raw_disconnect", "connect", "receive", "disconnect")
    with Connection(type("Steps", (Echo,), {name: step(name) for name in names})) as client:
        client.send("connect")
        assert steps == ["dispatch", "get_handler", "raw_connect", "connect"]
        assert client.send("receive", text="hi") == [{"text": "hi"}]
        assert steps[6:] == ["raw_receive", "receive"]
        client.send("disconnect", code=1000)
        assert steps[8:] == ["dispatch", "get_handler", "raw_disconnect", "disconnect"]


def test_an_override_that_does_not_accept_leaves_the_handshake_waiting() -> None:
    with Connection(type("Silent", (Echo,), {"connect": lambda self, message, **kwargs: None})) as client:
        assert client.send("connect") == []


def test_frames_come_as_text_or_bytes_and_go_out_the_same_way() -> None:
    with Connection(Echo) as client:
        assert client.send("receive", text="hi") == [{"text": "hi"}]
        assert client.send("receive", text="") == [{"text": ""}]
        assert client.send("receive", bytes=b"\x00") == [{"bytes": b"\x00"}]
        assert client.send("receive", text="bye") == [{"text": "bye", "close": True}]


def test_a_frame_with_nothing_in_it_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="text or bytes"):
        WebsocketConsumer.group_send("everybody", close=True)
    with pytest.raises(ValueError, match="text or bytes"):
        Echo(message())


def test_close_takes_a_code() -> None:
    one = WebsocketConsumer(message(text="x"))
    one.close()
    one.close(4001)
    layer = one.message.channel_layer
    assert layer is not None
    assert [layer.receive(["websocket.send.a!"])[1] for _ in range(2)] == [{"close": True}, {"close": 4001}]


def test_groups_may_depend_on_the_route() -> None:
    class Room(WebsocketConsumer):
        def connection_groups(self, **kwargs: Any) -> list[str]:
            return [f"room-{kwargs['room']}"]

    with Connection(Room.as_route(path=r"^/(?P<room>\w+)")) as client:
        client.send("connect")
        assert client.layer.group_channels("room-p") == [REPLY]
        client.send("disconnect", code=1000)
        assert client.layer.group_channels("room-p") == []


def test_json_goes_both_ways() -> None:
    with Connection(Json) as client:
        assert client.send("receive", text='{"a": [1, null, "é"]}') == [{"text": '{"got": {"a": [1, null, "\\u00e9"]}}'}]
        client.layer.group_add("all", REPLY)
        Json.group_send("all", [1], close=True)
        assert client.replies() == [{"text": "[1]", "close": True}]


@pytest.mark.parametrize("frame", [{"text": "{"}, {"text": "NaN"}, {"text": ""}, {"text": "[" * 100_000}, {"bytes": b"{}"}])
def test_what_is_no_json_closes_with_1003(frame: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "shmchan.worker")
    with Connection(Json) as client:
        told = "frames are JSON in text, none are binary" if "bytes" in frame else "a frame is no JSON"
        assert client.send("receive", **frame) == [{"close": 1003, "reason": told}]
    assert "the client is disconnected for a " in caplog.text
    assert "failed" not in caplog.text


def test_what_json_cannot_say_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Json.group_send("all", float("nan"))
    with pytest.raises(TypeError):
        Json.group_send("all", {1, 2})


def test_an_applications_own_encoding_is_used() -> None:
    class Own(Json):
        @classmethod
        def decode_json(cls, text: str) -> Any:
            return text.upper()

        @classmethod
        def encode_json(cls, content: Any) -> str:
            return str(content)

    with Connection(Own) as client:
        assert client.send("receive", text="a") == [{"text": "{'got': 'A'}"}]


def test_strict_ordering_wants_an_order() -> None:
    strict = Echo.as_route(attrs={"strict_ordering": True}).consumer
    with pytest.raises(ValueError, match="enforce_ordering"):
        strict(message(text="x"))


@pytest.mark.parametrize("flag", ["channel_session", "channel_session_user", "http_user", "http_user_and_session"])
def test_flags_say_what_a_message_has(flag: str) -> None:
    seen: list[set[str]] = []

    class Flagged(WebsocketConsumer):
        def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: Any) -> None:
            seen.append({name for name in ("channel_session", "user", "http_session") if hasattr(self.message, name)})

    Flagged.as_route(attrs={flag: True}).consumer(message(text="x"))
    assert seen[0] >= {"channel_session"}
    assert ("user" in seen[0]) == (flag != "channel_session")
    assert ("http_session" in seen[0]) == flag.startswith("http_")


@pytest.mark.parametrize("name", ["raw_connect", "connect", "receive", "disconnect", "connection_groups"])
def test_async_methods_are_refused_when_the_class_is_made(name: str) -> None:
    async def asynchronous(self: Echo, *args: Any, **kwargs: Any) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match=rf"Made\.{name} is `async def`"):
        type("Made", (Echo,), {name: asynchronous})


def test_async_methods_of_another_base_are_refused_too() -> None:
    class Mixin:
        async def receive(self, **kwargs: Any) -> AsyncIterator[None]:
            yield  # of which a call makes no coroutine, but nothing runs either

    with pytest.raises(TypeError, match=r"Made\.receive is `async def`"):
        type("Made", (Mixin, Echo), {})
