"""channel_session: what is remembered of a connection, from its connect to its disconnect."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shmchan import Message, route
from shmchan.exceptions import ConsumeLater, MessageTooLarge
from shmchan.layers import InMemoryChannelLayer
from shmchan.routing import Router
from shmchan.sessions import ChannelSession, channel_session
from shmchan.worker.consume import Handler

REPLY = "websocket.send.a!x"


@pytest.fixture
def layer() -> Iterator[InMemoryChannelLayer]:
    with InMemoryChannelLayer() as layer:
        yield layer


def run(layer: InMemoryChannelLayer, consumer: Callable[..., Any], channel: str = "websocket.receive", reply: str = REPLY) -> Any:
    return consumer(Message({"reply_channel": reply}, channel, layer))


@channel_session
def count(message: Any) -> int:
    message.channel_session["n"] = message.channel_session.get("n", 0) + 1
    n: int = message.channel_session["n"]
    return n


def test_it_is_the_same_for_all_messages_of_one_connection(layer: InMemoryChannelLayer) -> None:
    assert [run(layer, count) for _ in range(3)] == [1, 2, 3]
    assert run(layer, count, reply="websocket.send.a!y") == 1
    assert ChannelSession(layer, REPLY) == {"n": 3}
    assert ChannelSession(layer, REPLY).session_key == REPLY


def test_it_is_there_in_disconnect_and_gone_after_it(layer: InMemoryChannelLayer) -> None:
    run(layer, count)
    assert run(layer, count, "websocket.disconnect") == 2
    assert ChannelSession(layer, REPLY) == {}
    assert layer.global_statistics()["memory_used"] == 0


def test_a_disconnect_that_nobody_decorated_takes_it_too(layer: InMemoryChannelLayer) -> None:
    handler = Handler(layer, Router([route("websocket.connect", count), route("websocket.disconnect", lambda message: None)]))
    for channel, left in (("websocket.connect", {"n": 1}), ("websocket.disconnect", None)):
        layer.send(channel, {"reply_channel": REPLY})
        lease = layer.lease([channel], 10.0)
        assert lease is not None
        handler.handle(lease)
        assert layer.session_load(REPLY) == left


def test_nested_changes_are_saved_and_unchanged_sessions_are_not(
    layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    @channel_session
    def nest(message: Any) -> None:
        message.channel_session.setdefault("deep", {"list": []})["list"].append(b"x")

    @channel_session
    def look(message: Any) -> None:
        assert message.channel_session["deep"]["list"] == [b"x", b"x"]
        assert not message.channel_session.modified

    run(layer, nest)
    run(layer, nest)
    monkeypatch.setattr(layer, "session_save", None)
    run(layer, look)


def test_it_is_saved_also_when_the_consumer_raises(layer: InMemoryChannelLayer) -> None:
    @channel_session
    def fail(message: Any) -> None:
        message.channel_session["tried"] = True
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        run(layer, fail)
    assert ChannelSession(layer, REPLY) == {"tried": True}


def test_a_disconnect_that_will_come_again_still_has_it(layer: InMemoryChannelLayer) -> None:
    @channel_session
    def later(message: Any) -> None:
        raise ConsumeLater

    run(layer, count)
    with pytest.raises(ConsumeLater):
        run(layer, later, "websocket.disconnect")
    assert ChannelSession(layer, REPLY) == {"n": 1}


def test_load_save_and_flush_act_at_once(layer: InMemoryChannelLayer) -> None:
    session, same = ChannelSession(layer, REPLY), ChannelSession(layer, REPLY)
    session["a"] = 1
    assert session.modified
    session.save()
    assert not session.modified
    assert same == {}
    assert same.load() is same
    assert same == {"a": 1}
    same.modified = True
    assert same.modified
    same.flush()
    assert session.load() == {}
    assert layer.session_load(REPLY) is None


def test_decorators_around_each_other_share_one_session(layer: InMemoryChannelLayer) -> None:
    assert run(layer, channel_session(count)) == 1
    assert ChannelSession(layer, REPLY) == {"n": 1}


def test_a_message_without_a_connection_is_a_value_error(layer: InMemoryChannelLayer) -> None:
    with pytest.raises(ValueError, match="reply_channel"):
        count(Message({}, "jobs", layer))


def test_what_cannot_be_kept_is_said_with_its_key(layer: InMemoryChannelLayer) -> None:
    @channel_session
    def put(message: Any) -> None:
        message.channel_session["when"] = object()

    with pytest.raises(TypeError, match="'when'"):
        run(layer, put)
    session = ChannelSession(layer, REPLY)
    session["long"] = b"x" * 70_000
    with pytest.raises(MessageTooLarge, match=r"^a connection's session has 70\d+ bytes, .* 65000 .*; keep less in it"):
        session.save()
    assert layer.session_load(REPLY) is None


def test_async_consumers_have_it_while_they_run(layer: InMemoryChannelLayer) -> None:
    @channel_session
    async def consumer(message: Any) -> int:
        message.channel_session["n"] = 7
        return 7

    import asyncio

    assert asyncio.run(run(layer, consumer)) == 7
    assert ChannelSession(layer, REPLY) == {"n": 7}


def test_a_session_that_nobody_saves_expires_and_a_flush_takes_those_of_nobody() -> None:
    with InMemoryChannelLayer(group_expiry=0.0) as short:
        short.session_save(REPLY, {"a": 1})
        assert short.session_load(REPLY) is None
    with InMemoryChannelLayer() as layer:
        port = layer.open_port()
        mine = port.new_reply_channel("websocket")
        port.connect(mine, {"reply_channel": mine}, {"reply_channel": mine, "code": 1006, "path": "/", "order": 0})
        layer.session_save(mine, {"a": 1})
        layer.session_save(REPLY, {"a": 1})
        layer.flush()
        assert layer.session_load(mine) == {"a": 1}
        assert layer.session_load(REPLY) is None
