"""Several consumers on one WebSocket: one verdict on the connection, one stream for each."""

import json
import logging
import re
from typing import Any

import pytest

from shmchan import Channel, Group, Message
from shmchan.exceptions import ConsumeLater, DenyConnection, SendNotAvailableOnDemultiplexer, WebsocketCloseException
from shmchan.generic.websockets import (
    JsonWebsocketConsumer,
    WebsocketDemultiplexer,
    WebsocketMultiplexer,
)
from tests.unit.generic.harness import REPLY, Connection, message

told: list[str] = []


class Chat(JsonWebsocketConsumer):
    groups = ("chat",)

    def connect(self, message: Message, multiplexer: Any = None, **kwargs: Any) -> None:
        told.append("chat connect")
        super().connect(message)
        multiplexer.send({"welcome": multiplexer.stream})

    def receive(self, content: Any, multiplexer: Any = None, **kwargs: Any) -> None:
        multiplexer.send({"echo": content, "room": kwargs.get("room")})

    def disconnect(self, message: Message, **kwargs: Any) -> None:
        told.append("chat disconnect")


def other(message: Message, **kwargs: Any) -> None:
    told.append(message.channel_name)
    assert isinstance(kwargs["multiplexer"], WebsocketMultiplexer)


def demultiplexer(**consumers: Any) -> type[WebsocketDemultiplexer]:
    return type("Demultiplexer", (WebsocketDemultiplexer,), {"consumers": consumers})


def sending(*contents: dict[str, Any], error: BaseException | type[BaseException] | None = None) -> Any:
    """A consumer that sends this to its connection, and raises that."""

    def consumer(message: Message, **kwargs: Any) -> None:
        told.append("sending")
        for content in contents:
            assert message.reply_channel is not None
            message.reply_channel.send(content)
        if error is not None:
            raise error

    return consumer


WELCOME = {"text": json.dumps({"stream": "chat", "payload": {"welcome": "chat"}})}
ACCEPT = {"accept": True}


@pytest.fixture(autouse=True)
def _forget() -> None:
    told.clear()


def test_everybody_hears_of_connect_and_disconnect() -> None:
    with Connection(demultiplexer(chat=Chat, other=other)) as client:
        assert client.send("connect") == [ACCEPT, WELCOME]
        assert client.layer.group_channels("chat") == [REPLY]
        client.send("disconnect", code=1000)
        assert client.layer.group_channels("chat") == []
    assert told == ["chat connect", "websocket.connect", "chat disconnect", "websocket.disconnect"]


def test_a_frame_goes_to_the_consumer_of_its_stream_as_a_message_of_its_own() -> None:
    got: list[Message] = []
    consumers = demultiplexer(chat=Chat, raw=lambda message, **kwargs: got.append(message))
    with Connection(consumers.as_route(attrs={"channel_session": True}, path=r"^/(?P<room>\w+)")) as client:
        answer = {"stream": "chat", "payload": {"echo": {"a": 1}, "room": "p"}}
        assert [json.loads(one["text"]) for one in client.frame({"stream": "chat", "payload": {"a": 1}})] == [answer]
        client.frame({"stream": "raw", "payload": {"b": ["é"]}})
    assert got[0].channel_name == "websocket.receive"
    assert json.loads(got[0]["text"]) == {"b": ["é"]}
    assert (got[0]["order"], got[0]["path"]) == (1, "/p")
    assert hasattr(got[0], "channel_session")


def test_a_consumer_that_works_by_itself_works_on_a_stream() -> None:
    class Notes(JsonWebsocketConsumer):
        groups = ("notes",)
        channel_session = True

        def receive(self, content: Any, **kwargs: Any) -> None:
            notes = self.message.channel_session.setdefault("notes", [])
            notes.append(content["note"])
            Group("notes").send({"text": json.dumps(notes)})

    for routing, wrap in (
        (Notes, lambda note: note),
        (demultiplexer(notes=Notes), lambda note: {"stream": "notes", "payload": note}),
    ):
        with Connection(routing) as client:
            assert client.send("connect") == [ACCEPT]
            client.frame(wrap({"note": "a"}))
            assert client.frame(wrap({"note": "b"})) == [{"text": '["a", "b"]'}]
            client.send("disconnect", code=1000)
            assert client.layer.group_channels("notes") == []


@pytest.mark.parametrize(
    "frame",
    [
        [],
        "x",
        {"stream": "chat"},
        {"payload": {}},
        {"stream": 1, "payload": {}},
        {"stream": ["chat"], "payload": {}},
        {"stream": "nobody", "payload": {}},
        {"stream": "chat", "payload": []},
    ],
)
def test_a_bad_frame_closes_with_1003(frame: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "shmchan.worker")
    with Connection(demultiplexer(chat=Chat)) as client:
        [answer] = client.frame(frame)
    assert answer["close"] == 1003
    # RFC 6455, 5.5: a control frame has at most 125 bytes, and two of them are the code.
    assert 10 < len(answer["reason"].encode()) <= 123
    assert "the client is disconnected for" in caplog.text


def test_the_stream_of_a_consumer_that_fails_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fails(message: Message, multiplexer: WebsocketMultiplexer) -> None:
        if message.channel_name == "websocket.receive":
            raise LookupError("on purpose")

    with Connection(demultiplexer(notes=fails)) as client:
        client.frame({"stream": "notes", "payload": {}})
    assert re.search(r"^It was the consumer of stream 'notes': .*\.fails$", caplog.text, re.MULTILINE)


def test_a_payload_that_can_be_read_but_not_be_said_again_closes_with_1003(caplog: pytest.LogCaptureFixture) -> None:
    refused = {"close": 1003, "reason": "a frame is no JSON"}
    answers = []
    with Connection(demultiplexer(chat=sending({"text": "here"}))) as client:
        for depth in (50, *range(850, 1000), 10_000, 200_000):  # Python 3.11 reads up to 900 and something of them
            text = '{"stream": "chat", "payload": {"a": %s}}' % ("[" * depth + "]" * depth)
            answers += client.send("receive", text=text)
        infinite = client.send("receive", text='{"stream": "chat", "payload": {"a": 1e999}}')
    assert answers[0] == {"text": "here"}
    assert answers[-1] == refused
    assert all(answer in ({"text": "here"}, refused) for answer in answers)
    assert len(answers) == 153
    assert infinite == [refused]
    assert not [record for record in caplog.records if record.exc_info], "none of them is a failure of the consumer's"


def test_an_async_consumer_is_refused_when_the_class_is_made() -> None:
    async def asynchronous(message: Message, **kwargs: Any) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match=r"stream 'later' of .*Demultiplexer is `async def`"):
        demultiplexer(chat=Chat, later=asynchronous)


@pytest.mark.parametrize(
    ("rejecting", "answer"),
    [
        (sending(error=DenyConnection()), {"close": True}),
        (sending({"text": "dropped"}, error=DenyConnection()), {"close": True}),
        (sending({"close": True}), {"close": True}),
        (sending({"close": 4001}), {"close": 4001}),
        (sending({"accept": False, "status": 401}), {"accept": False, "status": 401}),
        (sending(error=WebsocketCloseException(4002)), {"close": 4002}),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_one_that_rejects_wins_over_every_accept(rejecting: Any, answer: dict[str, Any], first: bool) -> None:
    accepting = sending({"accept": True, "text": "hello"})
    consumers = {"a": rejecting, "b": accepting, "c": Chat} if first else {"a": accepting, "c": Chat, "b": rejecting}
    with Connection(demultiplexer(**consumers)) as client:
        assert client.send("connect") == [answer]
    assert sorted(told) == ["chat connect", "sending", "sending"]


def test_headers_and_subprotocol_of_every_accept_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    one = sending({"accept": True, "headers": [[b"x-one", b"1"]]})
    two = sending({"accept": True, "headers": [[b"x-two", b"2"], [b"x-three", b"3"]], "subprotocol": "chat"}, {"text": "hi"})
    with Connection(demultiplexer(one=one, two=two)) as client:
        headers = [[b"x-one", b"1"], [b"x-two", b"2"], [b"x-three", b"3"]]
        assert client.send("connect") == [{"accept": True, "headers": headers, "subprotocol": "chat"}, {"text": "hi"}]
    assert caplog.text == ""
    other_choice = sending({"accept": True, "subprotocol": "other"})
    with Connection(demultiplexer(two=two, other=other_choice)) as client:
        assert client.send("connect")[0]["subprotocol"] == "chat"
    assert "different subprotocols" in caplog.text


def test_closing_after_accepting_is_no_rejection() -> None:
    with Connection(demultiplexer(one=sending(ACCEPT, {"close": 4001}), two=sending(ACCEPT))) as client:
        assert client.send("connect") == [ACCEPT, {"close": 4001}]
    with Connection(demultiplexer(one=sending({"text": "full", "close": 4001}))) as client:
        assert client.send("connect") == [ACCEPT, {"text": "full", "close": 4001}]


def test_nobody_accepting_leaves_the_handshake_waiting() -> None:
    with Connection(demultiplexer(one=sending(), two=sending())) as client:
        assert client.send("connect") == []


def test_connect_reaches_all_when_one_raises_and_the_exception_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    consumers = demultiplexer(a=sending(ACCEPT, error=RuntimeError("first")), b=sending(error=KeyError("second")), chat=Chat)
    with Connection(consumers) as client:
        assert client.send("connect") == [{"accept": False, "status": 500, "content": b"Internal Server Error"}]
    assert told == ["sending", "sending", "chat connect"]
    assert "RuntimeError: first" in caplog.text
    assert "'b' failed as another one did" in caplog.text


def test_a_rejection_stands_when_another_raises() -> None:
    with Connection(demultiplexer(a=sending(error=RuntimeError()), b=sending({"close": True}))) as client:
        assert client.send("connect") == [{"close": True}]


def test_disconnect_reaches_all_when_one_raises_and_the_exception_goes_on() -> None:
    consumers = demultiplexer(a=sending(error=RuntimeError("first")), chat=Chat, b=sending(error=DenyConnection()))
    with pytest.raises(RuntimeError, match="first"):
        consumers(message("websocket.disconnect", code=1000))
    assert told == ["sending", "chat disconnect", "sending"]


def test_asking_for_later_has_the_whole_message_again() -> None:
    attempts: list[int] = []

    def later(message: Message, **kwargs: Any) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConsumeLater

    with Connection(demultiplexer(chat=Chat, later=later)) as client:
        assert client.send("connect") == []
        lease = client.layer.lease(["websocket.connect"], 10.0)
        assert lease is not None
        client.handler.handle(lease)
        assert client.replies() == [ACCEPT, WELCOME]


def test_what_consumers_send_elsewhere_goes_out_in_its_order() -> None:
    def busy(message: Message, **kwargs: Any) -> None:
        Group("chat").send({"text": "to all"})
        Channel("jobs").send({"n": 1})

    with Connection(demultiplexer(chat=Chat, busy=busy)) as client:
        assert client.send("connect") == [ACCEPT, WELCOME, {"text": "to all"}]
        assert client.layer.receive(["jobs"]) == ("jobs", {"n": 1})
    with Connection(demultiplexer(busy=busy, no=sending({"close": True}))) as client:
        assert client.send("connect") == [{"close": True}]
        assert client.layer.receive(["jobs"]) == ("jobs", {"n": 1})


def test_sending_on_the_demultiplexer_itself_is_not_available() -> None:
    class Sub(JsonWebsocketConsumer):
        def receive(self, content: Any, **kwargs: Any) -> None:
            self.send(content)

    with pytest.raises(SendNotAvailableOnDemultiplexer, match="Sub shares its connection"):
        demultiplexer(sub=Sub)(message(text='{"stream": "sub", "payload": {}}'))
    with pytest.raises(SendNotAvailableOnDemultiplexer):
        WebsocketDemultiplexer.group_send("all", {})
    one = demultiplexer()(message("websocket.disconnect"))
    with pytest.raises(SendNotAvailableOnDemultiplexer):
        one.send({"x": 1})


def test_a_multiplexer_sends_on_its_stream() -> None:
    with Connection(demultiplexer(chat=Chat)) as client:
        client.send("connect")
        multiplexer = WebsocketMultiplexer("chat", Channel(REPLY))
        multiplexer.send({"a": 1})
        WebsocketMultiplexer.group_send("chat", "news", {"b": 2}, close=4000)
        frames = [{"text": '{"stream": "chat", "payload": {"a": 1}}'}, {"text": '{"stream": "news", "payload": {"b": 2}}'}]
        assert client.replies() == [frames[0], {**frames[1], "close": 4000}]
    assert WebsocketMultiplexer.encode("news", {"b": 2}) == frames[1]


def test_an_own_multiplexer_class_is_used() -> None:
    class Shouting(WebsocketMultiplexer):
        @classmethod
        def encode_json(cls, content: Any) -> str:
            return super().encode_json(content).upper()

    with Connection(demultiplexer(chat=Chat).as_route(attrs={"multiplexer_class": Shouting})) as client:
        assert client.frame({"stream": "chat", "payload": {}})[0]["text"].startswith('{"STREAM"')


def test_async_consumers_are_refused_in_words() -> None:
    async def consumer(message: Message, **kwargs: Any) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="async def"):
        demultiplexer(one=consumer)(message(text='{"stream": "one", "payload": {}}'))
