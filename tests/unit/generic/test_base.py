"""Class-based consumers: a message finds its method, a route its class."""

from typing import Any

import pytest

from shmchan import Message, include
from shmchan.generic import BaseConsumer
from shmchan.http import Response
from shmchan.layers import InMemoryChannelLayer
from shmchan.routing import RouteClass

calls: list[tuple[Any, ...]] = []


class Consumer(BaseConsumer):
    method_mapping = {"websocket.receive": "hear", "jobs": "work", "http.request": "answer"}  # noqa: RUF012
    tone = "loud"

    def hear(self, message: Message, **kwargs: Any) -> None:
        calls.append((self.tone, message is self.message, kwargs == self.kwargs, kwargs))

    def work(self, message: Message, **kwargs: Any) -> None:
        message.channel_session["n"] = 1
        calls.append((hasattr(message, "user"),))

    def answer(self, message: Message, **kwargs: Any) -> Response:
        return Response("yes")


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()


def message(channel: str, **content: Any) -> Message:
    return Message({"reply_channel": "r!x", **content}, channel, InMemoryChannelLayer())


def test_a_message_is_consumed_by_the_method_of_its_channel() -> None:
    assert Consumer.channel_names() == {"websocket.receive", "jobs", "http.request"}
    Consumer(message("websocket.receive"), room="blue")
    assert calls == [("loud", True, True, {"room": "blue"})]


def test_a_route_to_a_class_has_its_channels_filters_and_attributes() -> None:
    route = Consumer.as_route(attrs={"tone": "low"}, path=r"^/(?P<room>\w+)$")
    assert isinstance(route, RouteClass)
    assert route.channel_names() == Consumer.channel_names()
    found = include([route], path="^/rooms").match(message("websocket.receive", path="/rooms/red"))
    assert found is not None
    consumer, kwargs = found
    assert issubclass(consumer, Consumer)  # type: ignore[arg-type]
    assert consumer.__module__ == __name__
    consumer(message("websocket.receive"), **kwargs)
    assert calls[0][0] == "low"
    assert calls[0][3] == {"room": "red"}
    assert Consumer.tone == "loud"
    assert Consumer.as_route().consumer is Consumer


def test_attrs_are_a_dict() -> None:
    attrs: Any = ["tone"]
    with pytest.raises(TypeError, match="attrs is a dict"):
        Consumer.as_route(attrs=attrs)


def test_flags_put_sessions_and_users_on_messages() -> None:
    flagged = Consumer.as_route(attrs={"channel_session": True}).consumer
    first = message("jobs")
    flagged(first)
    assert first.channel_layer is not None
    assert first.channel_layer.session_load("r!x") == {"n": 1}
    Consumer.as_route(attrs={"channel_session_user": True}).consumer(message("jobs"))
    assert calls == [(False,), (True,)]


def test_a_response_that_a_method_returns_is_sent() -> None:
    one = message("http.request")
    Consumer(one)
    assert one.channel_layer is not None
    assert one.channel_layer.receive(["r!"])[1] == Response("yes").message()
    with pytest.raises(ValueError, match="no reply_channel"):
        Consumer(Message({}, "http.request", InMemoryChannelLayer()))


def test_a_channel_without_a_method_is_said() -> None:
    with pytest.raises(ValueError, match=r"nothing for websocket\.connect"):
        Consumer(message("websocket.connect"))


@pytest.mark.parametrize("name", ["hear", "dispatch", "get_handler"])
def test_an_async_method_is_refused_when_its_class_is_made(name: str) -> None:
    async def asynchronous(self: Consumer, message: Message, **kwargs: Any) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match=rf"test_base\.Made\.{name} is `async def`.*write `def {name}`, or route a function"):
        type("Made", (Consumer,), {name: asynchronous, "__module__": __name__})
    with pytest.raises(TypeError, match=rf"Consumer\.{name} is `async def`"):
        Consumer.as_route(attrs={name: asynchronous})


def test_an_async_method_that_nobody_calls_for_a_message_is_nobodys_business() -> None:
    class Made(Consumer):
        async def helper(self) -> None:
            raise AssertionError

    Made(message("websocket.receive"))
    assert len(calls) == 1


def test_an_async_method_below_a_decorator_is_refused_when_it_is_called() -> None:
    async def asynchronous(self: Consumer, message: Message, **kwargs: Any) -> None:
        raise AssertionError

    hidden = type("Hidden", (Consumer,), {"hear": lambda *args, **kwargs: asynchronous(*args, **kwargs)})
    with pytest.raises(TypeError, match="async def"):
        hidden(message("websocket.receive"))
