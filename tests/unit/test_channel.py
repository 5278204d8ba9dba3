"""Channel and Group: what they send, when, and to which layer."""

import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shmchan import DEFAULT_CHANNEL_LAYER, Channel, Group, channel_layers, get_channel_layer
from shmchan.exceptions import ChannelFull
from shmchan.layers import InMemoryChannelLayer
from shmchan.pending import Pending, current


@pytest.fixture
def layer() -> Iterator[InMemoryChannelLayer]:
    with InMemoryChannelLayer(capacity=2) as layer:
        before = channel_layers.set(DEFAULT_CHANNEL_LAYER, layer)
        yield layer
        channel_layers.set(DEFAULT_CHANNEL_LAYER, before)


@pytest.fixture
def pending(layer: InMemoryChannelLayer) -> Iterator[Pending]:
    pending = Pending(layer)
    token = current.set(pending)
    yield pending
    current.reset(token)


def test_outside_a_consumer_everything_is_sent_at_once(layer: InMemoryChannelLayer) -> None:
    Channel("a").send({"n": 1})
    Group("g").add("b")
    Group("g").add(Channel("c"))
    Group("g").send({"n": 2})
    assert [layer.receive(["a"]), layer.receive(["b"]), layer.receive(["c"])] == [
        ("a", {"n": 1}),
        ("b", {"n": 2}),
        ("c", {"n": 2}),
    ]
    Channel("a").send({})
    Channel("a").send({})
    with pytest.raises(ChannelFull):
        Channel("a").send({})


def test_in_a_consumer_sends_are_kept_in_call_order(layer: InMemoryChannelLayer, pending: Pending) -> None:
    Channel("a").send({"n": 1})
    Group("g").send({"n": 2})
    Channel("b").send({"n": 3})
    assert [(kind, name) for kind, name, _ in pending.outbox.items] == [("channel", "a"), ("group", "g"), ("channel", "b")]
    assert layer.receive(["a", "b"]) == (None, None)
    assert pending.answered("a")
    assert not pending.answered("g")


def test_what_is_kept_can_be_changed_afterwards_without_harm(layer: InMemoryChannelLayer, pending: Pending) -> None:
    message = {"n": [1]}
    Channel("a").send(message)
    message["n"].append(2)
    assert pending.outbox.items[0][2] == layer.encode({"n": [1]})


def test_immediately_means_at_once_and_full_is_raised(layer: InMemoryChannelLayer, pending: Pending) -> None:
    Channel("a").send({"n": 1}, immediately=True)
    Group("g").add("a")
    Group("g").send({"n": 2}, immediately=True)
    assert pending.outbox.items == []
    assert pending.answered("a")
    with pytest.raises(ChannelFull):
        Channel("a").send({"n": 3}, immediately=True)
    assert layer.receive(["a"]) == ("a", {"n": 1})


def test_membership_acts_at_once_in_a_consumer(layer: InMemoryChannelLayer, pending: Pending) -> None:
    Group("g").add("a")
    assert layer.group_channels("g") == ["a"]
    Group("g").discard(Channel("a"))
    assert layer.group_channels("g") == []


def test_block_waits_for_room(layer: InMemoryChannelLayer, pending: Pending) -> None:
    for number in range(2):
        Channel("a").send({"n": number}, immediately=True)
    context = contextvars.copy_context()
    sender = threading.Thread(target=lambda: context.run(Channel("a").send, {"n": 2}, immediately=True, block=True))
    sender.start()
    assert [layer.receive(["a"], block=True)[1] for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]
    sender.join(30.0)


def test_block_gives_up_when_the_message_would_have_expired() -> None:
    with InMemoryChannelLayer(channel_capacity={"asgi.delay": 1}, expiry=0.05) as layer:
        layer.declare_parallel("asgi.delay")
        layer.send("asgi.delay", {})  # never expires, so that there will be no room
        with pytest.raises(ChannelFull):
            Channel("asgi.delay", channel_layer=layer).send({}, immediately=True, block=True)


def test_block_without_immediately_is_a_value_error(layer: InMemoryChannelLayer) -> None:
    with pytest.raises(ValueError, match="immediately=True"):
        Channel("a").send({}, block=True)


def test_when_the_consumer_is_done_late_sends_go_out_at_once(layer: InMemoryChannelLayer, pending: Pending) -> None:
    outbox = pending.close()
    Channel("a").send({"n": 1})
    Group("g").add("b")
    Group("g").send({"n": 2})
    assert outbox.items == []
    assert layer.receive(["a"]) == ("a", {"n": 1})
    assert layer.receive(["b"]) == ("b", {"n": 2})


def test_a_plain_thread_of_a_consumer_sends_at_once(layer: InMemoryChannelLayer, pending: Pending) -> None:
    thread = threading.Thread(target=contextvars.Context().run, args=(Channel("a").send, {"n": 1}))
    thread.start()
    thread.join()
    assert layer.receive(["a"]) == ("a", {"n": 1})


@pytest.mark.parametrize("content", [None, "text", [1], 5, b"x", [("a", 1)]])
def test_content_that_is_no_dict_is_a_type_error(layer: InMemoryChannelLayer, content: Any) -> None:
    for target in (Channel("a"), Group("g")):
        with pytest.raises(TypeError, match="a message is a dict"):
            target.send(content)


def test_what_cannot_travel_is_said_where_it_is_sent(layer: InMemoryChannelLayer, pending: Pending) -> None:
    with pytest.raises(TypeError, match="wrong"):
        Channel("a").send({"wrong": {1, 2}})
    with pytest.raises(TypeError, match="wrong"):
        Group("g").send({"wrong": {1, 2}})
    with pytest.raises(layer.MessageTooLarge):
        Channel("a").send({"big": bytes(17 << 20)})
    assert pending.outbox.items == []


def test_wrong_names_are_refused_where_they_are_written() -> None:
    with pytest.raises(TypeError, match="a channel name"):
        Channel("a b")
    with pytest.raises(TypeError, match="a group name"):
        Group("a!b")
    with InMemoryChannelLayer() as layer, pytest.raises(TypeError, match="a channel name"):
        Group("g", channel_layer=layer).add(None)  # type: ignore[arg-type]


def test_a_channel_of_another_layer_is_buffered_for_that_layer(layer: InMemoryChannelLayer, pending: Pending) -> None:
    with InMemoryChannelLayer() as other:
        Channel("a", channel_layer=other).send({"n": 1})
        assert pending.outbox.items == []
        assert pending.elsewhere == [(other, "channel", "a", other.encode({"n": 1}))]


def test_a_layer_is_found_by_alias_when_it_is_needed() -> None:
    channel = Channel("a", alias="second")
    with InMemoryChannelLayer() as layer:
        channel_layers.set("second", layer)
        channel.send({"n": 1})
        assert layer.receive(["a"]) == ("a", {"n": 1})
        assert get_channel_layer("second") is channel.channel_layer is Group("g", alias="second").channel_layer is layer
        assert "second" in channel_layers
        assert channel_layers.set("second", None) is layer
        assert "second" not in channel_layers


def test_channels_and_groups_have_a_name_an_equality_and_a_text() -> None:
    assert str(Channel("a")) == "a" == Channel("a").name
    assert Channel("a") == Channel("a") != Channel("b")
    assert Group("a") == Group("a") != Channel("a")
    assert len({Channel("a"), Channel("a"), Group("g"), Group("g")}) == 2
    assert repr(Channel("a")) == "Channel('a')"
    assert repr(Group("g")) == "Group('g')"
