"""The clients: what a consumer gets, what it answers, what it raises, and that a worker would have done the same."""

import asyncio
import contextlib
import itertools
import json
import unittest
from typing import Any

import pytest

import shmchan.test
import shmchan.testing
from shmchan import Channel, Group, Message, channel_layers, route
from shmchan.auth import channel_session_user_from_http, get_user, http_session_user, set_user_loader
from shmchan.exceptions import ChannelFull, ConsumeLater, DenyConnection, WebsocketCloseException
from shmchan.http import Response, StreamingResponse, WsgiConsumer
from shmchan.layers import ShmChannelLayer
from shmchan.sessions import channel_session, enforce_ordering
from shmchan.testing import ChannelTestCase, Client, WSClient, apply_routes, own_layer
from shmchan.testing import client as testing_client


def connect(message: Message) -> None:
    Group("all").add(message.reply_channel)
    message.reply_channel.send({"accept": True})


def receive(message: Message) -> str:
    message.reply_channel.send({"text": message["text"].upper()})
    return "the result"


REQUEST = {"method": "GET", "path": "/", "http_version": "1.1", "scheme": "http", "query_string": b"", "headers": [], "body": b""}
CHAT = [route("websocket.connect", connect, path="/chat"), route("websocket.receive", receive, path="/chat")]


def test_the_alias_has_the_same_names() -> None:
    assert shmchan.test.__all__ == shmchan.testing.__all__
    assert all(getattr(shmchan.test, name) is getattr(shmchan.testing, name) for name in shmchan.testing.__all__)


def test_a_layer_of_ones_own_is_a_segment_and_the_default_meanwhile() -> None:
    before = channel_layers.set("default", None)
    try:
        with own_layer() as layer, own_layer("other", capacity=3) as other:
            assert isinstance(layer, ShmChannelLayer)
            assert (channel_layers["default"], channel_layers["other"]) == (layer, other)
            assert other.capacity == 3
            Channel("job").send({"n": 1})
            message = Client().get_next_message("job")
            assert message is not None
            assert message.content == {"n": 1}
        assert "default" not in channel_layers
    finally:
        channel_layers.set("default", before)


@apply_routes(CHAT)
def test_send_and_consume_returns_the_result_and_receive_the_answers() -> None:
    client = Client()
    client.send("websocket.receive", {"path": "/chat", "text": "hello"})
    assert client.consume("websocket.receive") == "the result"
    assert client.receive() == {"text": "HELLO"}
    assert client.receive() is None
    assert client.send_and_consume("websocket.receive", {"path": "/chat", "text": "b"}) == "the result"
    assert client.get_consumer_by_channel("websocket.disconnect") is not None
    assert client.get_consumer_by_channel("no.such") is None


@apply_routes(CHAT)
def test_nothing_to_consume_is_an_error_unless_told_otherwise() -> None:
    client = Client()
    with pytest.raises(AssertionError, match="there is no message on job"):
        client.consume("job")
    assert client.consume("job", fail_on_none=False) is None
    client.send("job", {"n": 1})
    with pytest.raises(AssertionError, match="no route matches"):
        client.consume("job")
    client.send("job", {"n": 1})
    assert client.consume("job", fail_on_none=False) is None
    with pytest.raises(AssertionError, match="should be one"):
        client.get_next_message("job", require=True)
    assert client.get_next_message("job") is None


def test_without_routes_the_client_says_what_to_do() -> None:
    with own_layer():
        client = Client()
        client.send("job", {})
        with pytest.raises(AssertionError, match="apply_routes"):
            client.consume("job")


def test_groups_reach_a_client() -> None:
    with own_layer():
        first, second = Client(), Client()
        first.join_group("g")
        Group("g").send({"n": 1})
        assert first.receive() == {"n": 1}
        assert second.receive() is None


def test_what_a_consumer_raises_reaches_the_test_after_what_it_sent_went_out() -> None:
    def fails(message: Message) -> None:
        message.reply_channel.send({"text": "before"})
        raise KeyError("on purpose")

    async def fails_later(message: Message) -> None:
        await asyncio.sleep(0)
        raise ValueError("later")

    with apply_routes([route("job", fails), route("later", fails_later)]):
        client = Client()
        with pytest.raises(KeyError, match="on purpose"):
            client.send_and_consume("job")
        assert client.receive() == {"text": "before"}
        with pytest.raises(ValueError, match="later"):
            client.send_and_consume("later")


def test_control_flow_is_done_as_a_worker_does_it() -> None:
    tries = []

    def deny(message: Message) -> None:
        raise DenyConnection

    def close(message: Message) -> None:
        raise WebsocketCloseException(4000)

    def later(message: Message) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConsumeLater
        return "done"

    with apply_routes([route("websocket.connect", deny), route("websocket.receive", close), route("job", later)]):
        client = WSClient()
        with pytest.raises(AssertionError, match="not accepted"):
            client.send_and_consume("websocket.connect")
        client.send_and_consume("websocket.connect", check_accept=False)
        assert client.receive() == {"close": True}
        client.send_and_consume("websocket.receive", text="x")
        assert client.receive() == {"close": 4000}
        assert [client.send_and_consume("job"), client.consume("job"), client.consume("job")] == [None, None, "done"]


def test_async_consumers_run_to_their_end_with_a_loop_or_without() -> None:
    async def consumer(message: Message) -> Response:
        message.reply_channel.send({"n": 1})
        await asyncio.sleep(0)
        return Response("hello")

    async def in_a_loop(client: Client) -> None:
        client.send_and_consume("http.request", {"path": "/"})

    with apply_routes(route("http.request", consumer)):
        client = Client()
        result = client.send_and_consume("http.request", {"path": "/"})
        assert isinstance(result, Response)
        asyncio.run(in_a_loop(client))
        answers = [client.receive() for _ in range(4)]
    assert [answer.get("status", answer.get("n")) for answer in answers] == [1, 200, 1, 200]


@apply_routes(CHAT)
def test_a_websocket_has_what_the_front_would_give_it() -> None:
    client = WSClient()
    client.set_header("Origin", "http://a")
    client.set_cookie("a", "1")
    client.set_cookie("b", "2")
    client.send("websocket.connect", path="/chat?x=1")
    message = client.get_next_message("websocket.connect", require=True)
    assert message is not None
    assert message.content == {
        "reply_channel": client.reply_channel,
        "path": "/chat",
        "query_string": b"x=1",
        "root_path": "",
        "scheme": "ws",
        "headers": [[b"origin", b"http://a"], [b"cookie", b"a=1; b=2"]],
    }
    with pytest.raises(ValueError, match="set_cookie"):
        client.set_header("Cookie", "c=3")


@apply_routes(CHAT)
def test_a_websocket_connects_talks_json_and_leaves() -> None:
    client = WSClient()
    client.send_and_consume("websocket.connect", path="/chat")
    assert client.receive() is None
    Group("all").send({"text": json.dumps({"a": [1]})})
    assert client.receive() == {"a": [1]}
    client.send_and_consume("websocket.receive", path="/chat", text={"b": 2})
    assert client.receive(json=False) == '{"B": 2}'
    client.send_and_consume("websocket.disconnect", path="/chat")


@apply_routes(CHAT)
def test_an_answer_that_is_no_json_says_how_to_read_it() -> None:
    client = WSClient()
    client.send_and_consume("websocket.receive", path="/chat", text="hello")
    with pytest.raises(ValueError, match=r"'HELLO' is no JSON; read it with receive\(json=False\)"):
        client.receive()


def test_an_ordered_client_numbers_its_messages() -> None:
    orders: list[Any] = []

    def note(message: Message) -> None:
        orders.append(message["order"])
        message.reply_channel.send({"accept": True})

    with apply_routes([route(["websocket.connect", "websocket.receive"], enforce_ordering(note))]):
        client = WSClient(ordered=True)
        client.send_and_consume("websocket.connect")
        client.send_and_consume("websocket.receive", text="x")
        with pytest.raises(ValueError, match="order"):
            client.send("websocket.receive", {"order": 7})
    assert orders == [0, 1]


def test_sessions_and_users() -> None:
    class User:
        def __init__(self, pk: int) -> None:
            self.pk = pk

    seen: list[Any] = []

    @channel_session_user_from_http
    def welcome(message: Any) -> None:
        message.channel_session["colour"] = message.http_session["colour"]
        seen.append(message.user.pk)
        message.reply_channel.send({"accept": True})

    @channel_session
    def ask(message: Any) -> None:
        seen.append(message.channel_session["colour"])

    with apply_routes([route("websocket.connect", welcome), route("websocket.receive", ask)]):
        set_user_loader(User)
        client = WSClient()
        client.force_login(User(7))
        client.session["colour"] = "red"
        client.session.save()
        client.send_and_consume("websocket.connect")
        client.send_and_consume("websocket.receive", text="x")
        client.send_and_consume("websocket.disconnect")
        assert client.channel_layer.session_load(client.reply_channel) is None  # it went with the connection
        client.logout()
    assert seen == [7, "red"]


def test_a_client_logs_in_by_id_and_out() -> None:
    @http_session_user
    def who(message: Message) -> None:
        message.reply_channel.send({"text": json.dumps(str(message.user))})

    with apply_routes(route("websocket.connect", who)):
        set_user_loader(lambda user_id: f"user {user_id}")
        client = WSClient()
        assert client.login("ada") is True
        client.send_and_consume("websocket.connect", check_accept=False)
        assert client.receive() == "user ada"
        client.logout()
        client.send_and_consume("websocket.connect", check_accept=False)
        assert client.receive() == "AnonymousUser"


def user_seven() -> str:
    return str(get_user(7))


def test_a_user_loader_that_a_test_sets_is_its_own(shmchan_layer: ShmChannelLayer) -> None:
    class Case(ChannelTestCase):
        def test_it(self) -> None:
            set_user_loader("a case's {}".format)
            assert user_seven() == "a case's 7"

    @apply_routes(CHAT)
    def decorated() -> None:
        set_user_loader("a decorated one's {}".format, lambda: "nobody")
        assert (user_seven(), get_user(None)) == ("a decorated one's 7", "nobody")

    set_user_loader("this test's {}".format)
    with own_layer("other"):
        set_user_loader("a layer's {}".format)
        assert user_seven() == "a layer's 7"
    assert user_seven() == "this test's 7"
    decorated()
    assert (user_seven(), str(get_user(None))) == ("this test's 7", "AnonymousUser")
    result = unittest.TestResult()
    Case("test_it").run(result)
    assert result.wasSuccessful(), result.errors + result.failures
    assert user_seven() == "this test's 7"


def pieces_of(client: Client) -> list[bytes]:
    found: list[bytes] = []
    while (answer := client.receive()) is not None:
        found.append(answer["content"])
    return found


@pytest.mark.parametrize("length", [1, 20_000])
def test_a_response_streams_any_number_of_pieces_to_the_client_that_asked(shmchan_layer: ShmChannelLayer, length: int) -> None:
    pieces = [b"%d " % n * length for n in range(300)]

    def stream(message: Message) -> StreamingResponse:
        return StreamingResponse(pieces, headers=[("x-one", "1")])

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("x-one", "1")])
        return iter(pieces)

    for consumer in (stream, WsgiConsumer(application)):
        with apply_routes(route("http.request", consumer)):
            client = WSClient()
            client.send_and_consume("http.request", REQUEST)
            first = client.receive()
            assert (first["status"], first["headers"]) == (200, [[b"x-one", b"1"]])
            assert first["content"] + b"".join(pieces_of(client)) == b"".join(pieces)


def test_what_came_before_a_stream_is_received_before_it(shmchan_client: Client) -> None:
    with apply_routes(route("http.request", lambda message: StreamingResponse(["x" * 20_000] * 50))):
        Channel(shmchan_client.reply_channel).send({"content": b"first", "more_content": True})
        shmchan_client.send_and_consume("http.request")
        assert [len(piece) for piece in pieces_of(shmchan_client)] == [5, 0, *[20_000] * 50, 0]


def test_a_stream_that_nobody_takes_or_that_never_ends_is_a_failure(
    shmchan_layer: ShmChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing_client, "LONGEST_STREAM", 1 << 20)
    with apply_routes(route("http.request", lambda message: StreamingResponse(itertools.repeat(b"x" * 20_000)))):
        one, other = Client(), Client()
        one.send("http.request")
        with pytest.raises(AssertionError, match=f"goes to {one.reply_channel}, where nobody takes them"):
            other.consume("http.request")
        with pytest.raises(AssertionError, match="more than 1 MiB, and may not end"):
            other.send_and_consume("http.request")


def test_a_stream_for_which_there_is_no_memory_is_a_full_channel(shmchan_layer: ShmChannelLayer) -> None:
    def fill(message: Message) -> StreamingResponse:
        for size in (1 << 20, 10_000):
            with contextlib.suppress(ChannelFull):
                for n in itertools.count():
                    shmchan_layer.send(f"other.{size}.{n}", {"content": bytes(size)})
        return StreamingResponse([b"x" * 60_000] * 3)

    with apply_routes(route("http.request", fill)), pytest.raises(ChannelFull, match="no memory is left"):
        Client().send_and_consume("http.request")


@apply_routes(CHAT)
class TestDecorated:
    def test_methods_have_the_routes(self) -> None:
        assert Client().send_and_consume("websocket.receive", {"path": "/chat", "text": "a"}) == "the result"

    def test_each(self) -> None:
        assert Client().consume("websocket.receive", fail_on_none=False) is None


def test_fixtures_of_the_plugin(shmchan_layer: ShmChannelLayer, shmchan_client: Client, shmchan_ws_client: WSClient) -> None:
    assert channel_layers["default"] is shmchan_layer
    assert shmchan_client.channel_layer is shmchan_ws_client.channel_layer is shmchan_layer
    with apply_routes(CHAT):
        shmchan_ws_client.send_and_consume("websocket.connect", path="/chat")
        assert shmchan_layer.group_channels("all") == [shmchan_ws_client.reply_channel]
    assert shmchan_layer.router is None
