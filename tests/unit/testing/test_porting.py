"""Tests as somebody writes them who comes from Channels 1.x: with the imports changed, and nothing else."""

import unittest
from typing import Any, ClassVar

import pytest

from shmchan import Channel, Group, Message, route, route_class
from shmchan.auth import set_user_loader
from shmchan.generic.websockets import JsonWebsocketConsumer, WebsocketConsumer, WebsocketDemultiplexer
from shmchan.sessions import enforce_ordering
from shmchan.test import ChannelTestCase, Client, HttpClient, WSClient, apply_routes


class User:
    def __init__(self, id: int) -> None:
        self.id = id


def square(message: Message) -> None:
    Channel("result").send({"value": message["value"] ** 2})


def answer(message: Message) -> None:
    message.reply_channel.send({"all is": "done"})


class Rooms(JsonWebsocketConsumer):
    http_user_and_session = True
    groups = ("rooms_watchers",)

    def receive(self, content: Any, **kwargs: Any) -> None:
        self.send({"rooms": self.message.http_session.get("rooms", [])})
        Channel("rooms_receive").send({"user": self.message.user.id, "message": content["message"]})


class Welcoming(WebsocketConsumer):
    def connect(self, message: Message, **kwargs: Any) -> None:
        self.send(text='{"key": "value"}')


class Streams(WebsocketDemultiplexer):
    consumers: ClassVar[dict[str, Any]] = {"square": lambda message, multiplexer, **kwargs: multiplexer.send({"n": 4})}


class TestCases(ChannelTestCase):
    test_channel_aliases = ("default", "other")

    def test_a_consumer_that_is_called_by_the_test(self) -> None:
        Channel("input").send({"value": 33})
        square(self.get_next_message("input", require=True))  # type: ignore[arg-type]
        result = self.get_next_message("result", require=True)
        assert result is not None
        assert result["value"] == 1089
        assert self.get_next_message("result") is None

    def test_a_class_that_is_made_by_the_test(self) -> None:
        Channel("websocket.connect").send({"reply_channel": "replies!x", "path": "/"})
        message = self.get_next_message("websocket.connect", require=True)
        assert message is not None
        Welcoming(message)
        reply = self.get_next_message(message.reply_channel.name, require=True)
        assert reply is not None
        assert reply["text"] == '{"key": "value"}'

    def test_groups_and_further_layers(self) -> None:
        for alias in self.test_channel_aliases:
            Group("test-group", alias=alias).add("test-channel")
            Group("test-group", alias=alias).send({"value": alias})
        for alias in self.test_channel_aliases:
            result = self.get_next_message("test-channel", alias=alias, require=True)
            assert result is not None
            assert result["value"] == alias

    @apply_routes([route("my_internal_channel", answer)])
    def test_a_client(self) -> None:
        client = Client()
        client.send_and_consume("my_internal_channel", {"value": "my_value"})
        assert client.receive() == {"all is": "done"}

    def test_a_room_by_the_client_for_websockets(self) -> None:
        set_user_loader(User)
        with apply_routes([Rooms.as_route(path="^/rooms/$")]):
            client = HttpClient()
            client.force_login(User(7))
            client.send_and_consume("websocket.connect", path="/rooms/")
            assert client.receive() is None
            Group(Rooms.groups[0]).send({"text": "ok"}, immediately=True)
            assert client.receive(json=False) == "ok"
            client.session["rooms"] = ["test", "1"]
            client.session.save()
            client.send_and_consume("websocket.receive", text={"message": "hey"}, path="/rooms/")
            assert client.receive() == {"rooms": ["test", "1"]}
            job = self.get_next_message("rooms_receive", require=True)
            assert job is not None
            assert job.content == {"user": 7, "message": "hey"}
            client.send_and_consume("websocket.disconnect", path="/rooms/")
            assert client.receive() is None

    def test_a_frame_accepts_and_is_received(self) -> None:
        client = HttpClient()
        with apply_routes([Welcoming.as_route(path="/new")]):
            client.send_and_consume("websocket.connect", path="/new")
            assert client.receive() == {"key": "value"}
            assert client.receive() is None
            with pytest.raises(TypeError, match="path='/new'"):
                client.send_and_consume("websocket.connect", "/new")  # type: ignore[arg-type]

    def test_an_acceptance_with_a_frame_in_it(self) -> None:
        def connect(message: Message) -> None:
            message.reply_channel.send({"accept": True, "subprotocol": "a", "text": "[1]"})
            message.reply_channel.send({"bytes": b"2"})

        client = WSClient()
        with apply_routes(route("websocket.connect", connect)):
            client.send_and_consume("websocket.connect")
            assert [client.receive() for _ in range(3)] == [[1], {"bytes": b"2"}, None]

    def test_streams(self) -> None:
        with apply_routes([route_class(Streams, path="^/$")]):
            client = WSClient()
            client.send_and_consume("websocket.connect", path="/")
            assert client.receive() == {"stream": "square", "payload": {"n": 4}}
            client.send_and_consume("websocket.receive", path="/", text={"stream": "square", "payload": {}})
            assert client.receive() == {"stream": "square", "payload": {"n": 4}}

    def test_messages_that_are_sent_out_of_order(self) -> None:
        seen: list[str] = []
        with apply_routes([route("websocket.receive", enforce_ordering(lambda message: seen.append(message["text"])))]):
            client = HttpClient()
            for order in (1, 3, 2):
                client.send("websocket.receive", content={"order": order}, text=str(order))
            for _ in range(4):  # once more for the one that has waited
                client.consume("websocket.receive")
        assert seen == ["1", "2", "3"]

    def test_what_is_wrong_in_a_test_is_a_failure(self) -> None:
        client = Client()
        with pytest.raises(AssertionError, match="no message on input"):
            self.get_next_message("input", require=True)
        with apply_routes([]):
            client.send("input")
            with pytest.raises(AssertionError, match="no route matches"):
                client.consume("input")


@apply_routes([route("my_internal_channel", answer)])
class TestRouted(ChannelTestCase):
    def test_all_its_methods_have_the_routes(self) -> None:
        client = Client()
        assert client.get_consumer_by_channel("my_internal_channel") is answer
        client.send_and_consume("my_internal_channel")
        assert client.receive() == {"all is": "done"}


def test_a_case_runs_under_unittest_alone() -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(TestRouted).run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])
