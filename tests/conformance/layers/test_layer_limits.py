"""Capacity, expiry and statistics. Source: FEATURES 1; ASGI 1.0 draft, "capacity", "statistics" and "flush"."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from shmchan.layers.base import BaseChannelLayer, Lease

MakeLayer = Callable[..., BaseChannelLayer]
Until = Callable[[Callable[[], Any]], Any]
SHORT = 0.3


def fill(layer: BaseChannelLayer, channel: str, limit: int = 10_000) -> int:
    """Send until the channel is full; how many there was room for."""
    for number in range(limit):
        try:
            layer.send(channel, {"n": number})
        except layer.ChannelFull:
            return number
    return limit


def test_a_full_channel_refuses_and_takes_again_after_a_receive(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=3)
    assert fill(layer, "a") == 3
    with pytest.raises(layer.ChannelFull, match="'a'"):
        layer.send("a", {})
    layer.send("b", {})
    assert layer.receive(["a"]) == ("a", {"n": 0})
    layer.send("a", {"n": 3})
    assert [layer.receive(["a"])[1] for _ in range(3)] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_a_channel_holds_a_hundred_messages_unless_told_otherwise(layer: BaseChannelLayer) -> None:
    assert fill(layer, "a") == 100
    assert fill(layer, "a?x") == 100


def test_the_first_pattern_that_matches_gives_the_capacity(make_layer: MakeLayer) -> None:
    layer = make_layer(
        capacity=2,
        channel_capacity={"chat.*": 3, "chat.room": 9, re.compile(r"job\d+$"): 4, "x?y": 5},
    )
    found = {name: fill(layer, name) for name in ("chat.room", "chat", "job12", "job12b", "xzy")}
    assert found == {"chat.room": 3, "chat": 2, "job12": 4, "job12b": 2, "xzy": 5}


def test_globs_are_case_sensitive_and_match_whole_names(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2, channel_capacity={"chat": 3})
    assert {name: fill(layer, name) for name in ("chat", "Chat", "chat2")} == {"chat": 3, "Chat": 2, "chat2": 2}


@pytest.mark.parametrize("patterns", [{5: 10}, {"a": "10"}, {b"a": 10}, {"a": None}])
def test_a_wrong_channel_capacity_is_a_type_error(make_layer: MakeLayer, patterns: Any) -> None:
    with pytest.raises(TypeError, match="channel_capacity"):
        make_layer(channel_capacity=patterns)


def test_a_local_queue_is_bounded_for_each_virtual_channel(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=5)
    assert fill(layer, "reply!slow") == 5
    assert fill(layer, "reply!fast") == 5
    assert layer.receive(["reply!"])[0] == "reply!slow"
    assert fill(layer, "reply!slow") == 1
    assert fill(layer, "reply!fast") == 0


def test_a_local_queue_is_bounded_as_a_whole_by_what_matches_its_prefix(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=3, channel_capacity={"reply!*": 7})
    assert [fill(layer, f"reply!{number}") for number in range(4)] == [3, 3, 1, 0]
    assert fill(layer, "other!x") == 3


def test_the_whole_of_a_local_queue_is_much_longer_than_a_channel(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2)
    assert sum(fill(layer, f"reply!{number}") for number in range(500)) == 1000


def test_when_memory_is_used_up_a_send_is_refused_and_later_works_again(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=100_000)
    start = layer.global_statistics()["memory_used"]
    sent = 0
    while True:
        try:
            layer.send("a", {"body": bytes(1 << 20)})
        except layer.ChannelFull:
            break
        sent += 1
    assert sent >= 8
    assert layer.receive(["a"])[0] == "a"
    layer.send("a", {"body": bytes(1 << 19)})
    layer.flush()
    assert layer.global_statistics()["memory_used"] == start


def test_an_unread_message_expires(make_layer: MakeLayer, until: Until) -> None:
    layer = make_layer(expiry=SHORT)
    for channel in ("a", "a?x", "reply!x"):
        layer.send(channel, {})
    layer.send("websocket.receive", {"reply_channel": "reply!x"})
    channels = ["a", "a?x", "reply!", "websocket.receive"]
    until(lambda: layer.global_statistics()["messages_pending"] == 0)
    assert layer.receive(channels) == (None, None)
    until(lambda: sent_and_received(layer, "a", {"n": 2}))


def sent_and_received(layer: BaseChannelLayer, channel: str, message: dict[str, Any]) -> bool:
    """Whether it was fast enough for a short expiry."""
    layer.send(channel, message)
    return layer.receive([channel]) == (channel, message)


@pytest.mark.parametrize("channel", ["a", "reply!x"])
def test_expired_messages_make_room_for_new_ones(make_layer: MakeLayer, until: Until, channel: str) -> None:
    layer = make_layer(expiry=SHORT, capacity=2)
    assert fill(layer, channel) >= 2
    until(lambda: fill(layer, channel))


def test_an_expired_head_does_not_block_its_lane(make_layer: MakeLayer, until: Until) -> None:
    layer = make_layer(expiry=SHORT)
    layer.send("websocket.connect", {"reply_channel": "reply!x"})
    until(lambda: layer.channel_statistics("websocket.connect")["messages_pending"] == 0)

    def leased() -> Lease | None:
        layer.send("websocket.receive", {"reply_channel": "reply!x", "n": 1})
        return layer.lease(["websocket.receive"], 0)

    assert until(leased).content["n"] == 1


def test_statistics_count_what_was_sent_and_what_waits(layer: BaseChannelLayer) -> None:
    for number in range(3):
        layer.send("a", {"n": number})
    layer.send("b", {})
    layer.receive(["a"])
    counts = layer.channel_statistics("a")
    assert counts["messages_count"] == 3
    assert counts["messages_pending"] == 2
    assert counts["messages_max_age"] >= 0
    assert counts["messages_count_per_second"] >= 0
    assert counts["channel_full_count"] == 0
    together = layer.global_statistics()
    assert together["messages_count"] == 4
    assert together["messages_pending"] == 3
    assert together["memory_total"] > 0


def test_statistics_of_an_unused_channel_are_zero(layer: BaseChannelLayer) -> None:
    assert (
        layer.channel_statistics("never").items()
        >= {
            "messages_count": 0,
            "messages_count_per_second": 0,
            "messages_pending": 0,
            "messages_max_age": 0,
            "channel_full_count": 0,
            "channel_full_count_per_second": 0,
        }.items()
    )


def test_statistics_count_how_often_a_channel_was_full(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=1)
    layer.send("a", {})
    for _ in range(3):
        with pytest.raises(layer.ChannelFull):
            layer.send("a", {})
    assert layer.channel_statistics("a")["channel_full_count"] == 3
    assert layer.global_statistics()["channel_full_count"] == 3


def test_the_age_is_that_of_the_oldest_message(layer: BaseChannelLayer, until: Until) -> None:
    layer.send("a", {})
    until(lambda: layer.channel_statistics("a")["messages_max_age"] > 0.02)
    age = layer.channel_statistics("a")["messages_max_age"]
    layer.send("a", {})
    assert layer.channel_statistics("a")["messages_max_age"] >= age
    layer.receive(["a"])
    layer.receive(["a"])
    assert layer.channel_statistics("a")["messages_max_age"] == 0


def test_the_rate_of_a_second_is_seen_and_ends(layer: BaseChannelLayer, until: Until) -> None:
    for _ in range(20):
        layer.send("a", {})
    until(lambda: layer.channel_statistics("a")["messages_count_per_second"] > 0)
    until(lambda: layer.channel_statistics("a")["messages_count_per_second"] == 0)


def test_memory_comes_back_when_everything_was_received(layer: BaseChannelLayer) -> None:
    start = layer.global_statistics()["memory_used"]
    layer.group_add("g", "reply!x")
    layer.group_add("g", "a")
    for size in (1, 100, 5_000, 200_000):
        layer.send("a", {"body": bytes(size)})
        layer.send("a?x", {"body": bytes(size)})
        layer.send("reply!x", {"body": bytes(size)})
        layer.send("websocket.receive", {"reply_channel": "reply!x", "body": bytes(size)})
        layer.send_group("g", {"body": bytes(size)})
    assert layer.global_statistics()["memory_used"] > start
    while layer.receive(["a", "a?x", "reply!", "websocket.receive"])[0]:
        pass
    assert layer.global_statistics()["memory_used"] == start
