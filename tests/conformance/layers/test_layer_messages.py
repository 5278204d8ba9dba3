"""Sending and receiving: what arrives is what was sent, once, in order. Source: FEATURES 1; ASGI 1.0 draft, channel layers."""

import enum
from collections import OrderedDict
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from shmchan import exceptions
from shmchan.layers.base import BaseChannelLayer

NAME = "ASCII letters, digits, '-', '_' and '.', at most 100 characters"


class Colour(enum.StrEnum):
    RED = "red"


def test_a_message_arrives_once(layer: BaseChannelLayer) -> None:
    layer.send("a", {"text": "hello"})
    assert layer.receive(["a"]) == ("a", {"text": "hello"})
    assert layer.receive(["a"]) == (None, None)


def test_an_empty_message_arrives(layer: BaseChannelLayer) -> None:
    layer.send("a", {})
    assert layer.receive(["a"]) == ("a", {})


def test_nothing_is_received_from_a_channel_nobody_sent_to(layer: BaseChannelLayer) -> None:
    layer.send("a", {})
    assert layer.receive(["b"]) == (None, None)


def test_receive_many_is_receive(layer: BaseChannelLayer) -> None:
    layer.send("a", {"n": 1})
    assert layer.receive_many(["b", "a"]) == ("a", {"n": 1})
    assert layer.receive_many(["b", "a"], block=False) == (None, None)


@pytest.mark.parametrize("channel", ["a", "a?x", "a.b-c_d", "A9"])
def test_messages_of_one_reader_keep_their_order(layer: BaseChannelLayer, channel: str) -> None:
    for number in range(50):
        layer.send(channel, {"n": number})
    assert [layer.receive([channel]) for _ in range(50)] == [(channel, {"n": number}) for number in range(50)]


def test_local_messages_keep_their_order_and_come_with_their_full_name(layer: BaseChannelLayer) -> None:
    sent = [(f"reply!{number % 3}", {"n": number}) for number in range(30)]
    for channel, message in sent:
        layer.send(channel, message)
    assert [layer.receive(["reply!"]) for _ in range(30)] == sent
    assert layer.receive(["reply!"]) == (None, None)


def test_local_channels_of_another_prefix_are_left_alone(layer: BaseChannelLayer) -> None:
    layer.send("reply.a!x", {})
    assert layer.receive(["reply.b!"]) == (None, None)
    assert layer.receive(["reply.b!", "reply.a!"]) == ("reply.a!x", {})


def test_what_is_sent_can_be_changed_afterwards_without_harm(layer: BaseChannelLayer) -> None:
    message: dict[str, Any] = {"list": [1, {"deep": "yes"}]}
    layer.send("a", message)
    message["list"][1]["deep"] = "no"
    message["more"] = 1
    assert layer.receive(["a"]) == ("a", {"list": [1, {"deep": "yes"}]})


def test_two_receivers_of_a_group_do_not_share_their_message(layer: BaseChannelLayer) -> None:
    for channel in ("a", "b"):
        layer.group_add("g", channel)
    layer.send_group("g", {"list": []})
    first, second = layer.receive(["a"])[1], layer.receive(["b"])[1]
    assert first is not None
    assert second is not None
    first["list"].append(1)
    assert second == {"list": []}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text",
        "ünïcödé \U0001f600 \x00",
        b"",
        b"\x00\xff",
        0,
        -(2**63),
        2**63 - 1,
        1.5,
        float("inf"),
        -0.0,
        True,
        False,
        None,
        [],
        [1, [b"2", ["3"]]],
        {},
        {"": {"a": [{"b": b"c"}]}},
    ],
)
def test_a_plain_value_arrives_as_what_it_is(layer: BaseChannelLayer, value: object) -> None:
    layer.send("a", {"value": value, "deep": [{"value": value}]})
    _, message = layer.receive(["a"])
    assert message == {"value": value, "deep": [{"value": value}]}
    assert type(message["value"]) is type(value)
    assert type(message["deep"][0]["value"]) is type(value)


def test_tuples_become_lists(layer: BaseChannelLayer) -> None:
    layer.send("a", {"t": (1, ("x", b"y")), "headers": [(b"a", b"b")]})
    assert layer.receive(["a"]) == ("a", {"t": [1, ["x", b"y"]], "headers": [[b"a", b"b"]]})


def test_subclasses_of_plain_types_travel_as_what_they_extend(layer: BaseChannelLayer) -> None:
    layer.send("a", OrderedDict(colour=Colour.RED, bytes=b"x"))
    _, message = layer.receive(["a"])
    assert message == {"colour": "red", "bytes": b"x"}
    assert type(message["colour"]) is str


@pytest.mark.parametrize(
    "value",
    [
        {1},
        datetime(2026, 1, 1),
        uuid4(),
        Decimal("1.5"),
        "\ud800",
        2**63,
        -(2**63) - 1,
        object(),
        bytearray(b"x"),
        {1: "x"},
        {b"k": "x"},
        {None: "x"},
        {"\udfff": 1},
        1j,
        range(3),
    ],
)
def test_anything_else_is_a_type_error_that_names_the_key(layer: BaseChannelLayer, value: object) -> None:
    for message in ({"fine": 1, "wrong": value}, {"fine": [1, {"wrong": [value]}]}):
        with pytest.raises(TypeError, match="wrong"):
            layer.send("a", message)
        with pytest.raises(TypeError, match="wrong"):
            layer.encode(message)
        with pytest.raises(TypeError, match="wrong"):
            layer.send_group("g", message)
    assert layer.receive(["a"]) == (None, None)


def test_what_contains_itself_is_a_type_error(layer: BaseChannelLayer) -> None:
    message: dict[str, Any] = {}
    message["me"] = message
    with pytest.raises(TypeError, match="me"):
        layer.send("a", message)


@pytest.mark.parametrize("message", [None, "text", [("a", 1)], 5, b"x", {"a"}])
def test_a_message_that_is_no_dict_is_a_type_error(layer: BaseChannelLayer, message: Any) -> None:
    with pytest.raises(TypeError, match="a message is a dict"):
        layer.send("a", message)


@pytest.mark.parametrize(
    "name",
    ["", "a b", "ä", "a/b", "a\n", "a!b!c", "a?b?c", "a?b!c", "!a", "?a", "a" * 101, b"bytes", None, 5, ["a"], "٣"],
)
def test_a_wrong_channel_name_is_a_type_error_that_says_what_is_allowed(layer: BaseChannelLayer, name: Any) -> None:
    with pytest.raises(TypeError, match=NAME):
        layer.send(name, {})
    with pytest.raises(TypeError, match=NAME):
        layer.receive([name])
    with pytest.raises(TypeError, match=NAME):
        layer.group_add("g", name)
    with pytest.raises(TypeError, match=NAME):
        layer.channel_statistics(name)


@pytest.mark.parametrize("name", ["a" * 100, "a" * 50 + "!" + "b" * 49, "x?y", "0.-_"])
def test_the_longest_and_the_oddest_allowed_names_work(layer: BaseChannelLayer, name: str) -> None:
    layer.send(name, {"n": 1})
    prefix = name[: name.find("!") + 1] or name
    assert layer.receive([prefix]) == (name, {"n": 1})


@pytest.mark.parametrize("channels", [[], (), None, "abc", {"a"}, 5])
def test_channels_that_are_no_filled_list_are_a_type_error(layer: BaseChannelLayer, channels: Any) -> None:
    with pytest.raises(TypeError, match="non-empty list"):
        layer.receive(channels)


def test_one_virtual_channel_cannot_be_received_by_itself(layer: BaseChannelLayer) -> None:
    with pytest.raises(TypeError, match="reply!"):
        layer.receive(["a", "reply!x"])


@pytest.mark.parametrize("pattern", ["reply!", "reply?", "a.b-c!"])
def test_new_channels_are_new_and_work(layer: BaseChannelLayer, pattern: str) -> None:
    made = {layer.new_channel(pattern) for _ in range(20)}
    assert len(made) == 20
    name = made.pop()
    assert name.startswith(pattern)
    assert len(name) > len(pattern)
    layer.send(name, {"n": 1})
    assert layer.receive([pattern if pattern.endswith("!") else name]) == (name, {"n": 1})


@pytest.mark.parametrize("pattern", ["reply", "reply!x", "reply?x", "", "!", "a b!", "a!b!", None, b"x!", "a" * 101 + "!"])
def test_a_wrong_pattern_of_a_new_channel_is_a_type_error(layer: BaseChannelLayer, pattern: Any) -> None:
    with pytest.raises(TypeError, match=r"ends in '\?' or '!'"):
        layer.new_channel(pattern)


def test_a_too_large_message_fails_before_anything_is_written(make_layer: Any) -> None:
    layer = make_layer(max_message_size=1000)
    layer.group_add("g", "a")
    for send in (lambda m: layer.send("a", m), lambda m: layer.send_group("g", m), layer.encode):
        with pytest.raises(layer.MessageTooLarge) as caught:
            send({"text": "x" * 1000})
        assert caught.value.limit == 1000
        assert caught.value.size > 1000
        assert f"the message has {caught.value.size} bytes, encoded, and at most 1000 are carried" in str(caught.value)
        assert f"max_message_size={caught.value.size}" in str(caught.value)
    assert layer.receive(["a"]) == (None, None)
    layer.send("a", {"text": "x" * 900})
    assert layer.receive(["a"]) == ("a", {"text": "x" * 900})


def test_a_message_of_megabytes_arrives_whole(layer: BaseChannelLayer) -> None:
    body = bytes(range(256)) * 12_000
    layer.send("a", {"body": body})
    assert layer.receive(["a"]) == ("a", {"body": body})


def test_a_layer_says_what_it_can_do(make_layer: Any) -> None:
    layer = make_layer(expiry=5, group_expiry=7, capacity=9)
    assert layer.extensions == ["groups", "flush", "statistics", "async"]
    assert (layer.expiry, layer.group_expiry, layer.capacity) == (5, 7, 9)
    assert layer.router is None
    assert layer.ChannelFull is exceptions.ChannelFull
    assert layer.MessageTooLarge is exceptions.MessageTooLarge


def test_the_default_options_are_those_that_are_promised(layer: BaseChannelLayer) -> None:
    assert (layer.expiry, layer.group_expiry, layer.capacity) == (60, 86400, 100)


def test_two_layers_of_different_names_share_nothing(make_layer: Any) -> None:
    one, other = make_layer(), make_layer()
    one.send("a", {})
    one.group_add("g", "a")
    assert other.receive(["a"]) == (None, None)
    assert other.group_channels("g") == []


def test_a_closed_layer_says_so_and_can_be_closed_again(layer: BaseChannelLayer) -> None:
    layer.close()
    layer.close()
    for use in (
        lambda: layer.send("a", {}),
        lambda: layer.receive(["a"]),
        lambda: layer.group_add("g", "a"),
        lambda: layer.send_group("g", {}),
        lambda: layer.lease(["a"], 0),
        layer.global_statistics,
    ):
        with pytest.raises(exceptions.LayerClosed):
            use()


def test_a_quiet_channel_is_not_starved_by_a_busy_one(layer: BaseChannelLayer) -> None:
    for number in range(50):
        layer.send("busy", {"n": number})
    layer.send("quiet", {})
    received = [layer.receive(["busy", "quiet"])[0] for _ in range(4)]
    assert "quiet" in received


def test_flush_drops_messages_and_groups_and_leaves_a_layer_that_works(layer: BaseChannelLayer) -> None:
    layer.send("a", {"n": 1})
    layer.send("reply!x", {})
    layer.send("one?x", {})
    layer.send("websocket.receive", {"reply_channel": "r!x", "n": 1})
    layer.send("websocket.receive", {"reply_channel": "r!x", "n": 2})
    layer.group_add("g", "a")
    layer.flush()
    assert layer.receive(["a", "reply!", "one?x", "websocket.receive"]) == (None, None)
    assert layer.group_channels("g") == []
    assert layer.global_statistics()["messages_pending"] == 0
    layer.send("websocket.receive", {"reply_channel": "r!x", "n": 3})
    assert layer.receive(["websocket.receive"])[1] == {"reply_channel": "r!x", "n": 3}
