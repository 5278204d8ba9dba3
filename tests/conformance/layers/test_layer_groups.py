"""Groups. Source: FEATURES 1; ASGI 1.0 draft, "groups extension"."""

from collections.abc import Callable
from typing import Any

import pytest

from shmchan.layers.base import BaseChannelLayer, Outbox

MakeLayer = Callable[..., BaseChannelLayer]
Until = Callable[[Callable[[], Any]], Any]


def received(layer: BaseChannelLayer, *channels: str) -> list[tuple[str | None, Any]]:
    """Everything that waits there."""
    found: list[tuple[str | None, Any]] = []
    while (pair := layer.receive(list(channels)))[0] is not None:
        found.append(pair)
    return found


def test_every_member_gets_a_groups_message_once(layer: BaseChannelLayer) -> None:
    for channel in ("a", "b?x", "reply!x", "reply!y", "a"):
        layer.group_add("g", channel)
    layer.group_add("h", "other")
    layer.send_group("g", {"n": 1})
    assert sorted(received(layer, "a", "b?x", "reply!", "other"), key=str) == [
        ("a", {"n": 1}),
        ("b?x", {"n": 1}),
        ("reply!x", {"n": 1}),
        ("reply!y", {"n": 1}),
    ]


def test_a_discarded_member_gets_nothing_more(layer: BaseChannelLayer) -> None:
    layer.group_add("g", "a")
    layer.group_add("g", "b")
    layer.group_discard("g", "a")
    layer.send_group("g", {})
    assert received(layer, "a", "b") == [("b", {})]
    assert layer.group_channels("g") == ["b"]


def test_discarding_who_is_no_member_changes_nothing(layer: BaseChannelLayer) -> None:
    layer.group_discard("g", "a")
    layer.group_add("g", "b")
    layer.group_discard("g", "a")
    layer.group_discard("h", "b")
    assert layer.group_channels("g") == ["b"]


def test_a_member_that_left_may_come_back(layer: BaseChannelLayer) -> None:
    for _ in range(3):
        layer.group_add("g", "reply!a")
        layer.group_discard("g", "reply!a")
    layer.group_add("g", "reply!a")
    layer.send_group("g", {"n": 1})
    assert received(layer, "reply!") == [("reply!a", {"n": 1})]


def test_the_members_of_a_group_are_known(layer: BaseChannelLayer) -> None:
    assert layer.group_channels("g") == []
    for channel in ("a", "b!x", "c?x"):
        layer.group_add("g", channel)
        layer.group_add("h", channel)
    layer.group_discard("h", "a")
    assert sorted(layer.group_channels("g")) == ["a", "b!x", "c?x"]
    assert sorted(layer.group_channels("h")) == ["b!x", "c?x"]


def test_sending_to_an_empty_group_is_fine(layer: BaseChannelLayer) -> None:
    layer.send_group("nobody", {"n": 1})
    assert layer.global_statistics()["messages_pending"] == 0


def test_who_joins_after_the_send_does_not_get_it(layer: BaseChannelLayer) -> None:
    layer.group_add("g", "reply!a")
    layer.send_group("g", {"n": 1})
    layer.group_add("g", "reply!b")
    assert received(layer, "reply!") == [("reply!a", {"n": 1})]


def test_a_full_member_is_skipped_and_the_others_are_not(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2)
    for channel in ("full", "reply!full", "a", "reply!a"):
        layer.group_add("g", channel)
    for channel in ("full", "reply!full"):
        layer.send(channel, {"n": 0})
        layer.send(channel, {"n": 0})
    layer.send_group("g", {"n": 1})
    assert sorted(received(layer, "full", "a", "reply!"), key=str) == [
        ("a", {"n": 1}),
        ("full", {"n": 0}),
        ("full", {"n": 0}),
        ("reply!a", {"n": 1}),
        ("reply!full", {"n": 0}),
        ("reply!full", {"n": 0}),
    ]


def test_a_groups_messages_keep_their_order_with_others(layer: BaseChannelLayer) -> None:
    layer.group_add("g", "reply!a")
    for number in range(10):
        if number % 2:
            layer.send_group("g", {"n": number})
        else:
            layer.send("reply!a", {"n": number})
    assert [message["n"] for _, message in received(layer, "reply!")] == list(range(10))


def test_memberships_expire(make_layer: MakeLayer, until: Until) -> None:
    layer = make_layer(group_expiry=0.3)
    layer.group_add("g", "a")
    layer.group_add("g", "reply!a")
    until(lambda: layer.group_channels("g") == [])
    layer.send_group("g", {})
    assert received(layer, "a", "reply!") == []


def test_adding_again_renews_a_membership(make_layer: MakeLayer, until: Until) -> None:
    layer = make_layer(group_expiry=1.0)
    layer.group_add("g", "once")
    layer.group_add("g", "again")

    def once_is_gone() -> bool:
        layer.group_add("g", "again")
        return layer.group_channels("g") == ["again"]

    until(once_is_gone)


def test_a_large_group_gets_it_all(make_layer: MakeLayer) -> None:
    layer = make_layer()
    members = {f"reply!{number}" for number in range(1000)}
    for channel in members:
        layer.group_add("g", channel)
    layer.send_group("g", {"text": "x"})
    assert {channel for channel, _ in received(layer, "reply!")} == members


def test_one_channel_may_be_in_many_groups(layer: BaseChannelLayer) -> None:
    for number in range(100):
        layer.group_add(f"g{number}", "reply!a")
    layer.send_group("g7", {"n": 7})
    assert received(layer, "reply!") == [("reply!a", {"n": 7})]


@pytest.mark.parametrize("name", ["", "a b", "g!x", "g?x", "ä", "g" * 101, None, 5, b"g", "g\n"])
def test_a_wrong_group_name_is_a_type_error_that_says_what_is_allowed(layer: BaseChannelLayer, name: Any) -> None:
    allowed = "at most 100 characters, without"
    for use in (
        lambda: layer.group_add(name, "a"),
        lambda: layer.group_discard(name, "a"),
        lambda: layer.group_channels(name),
        lambda: layer.send_group(name, {}),
    ):
        with pytest.raises(TypeError, match=allowed):
            use()


def test_a_group_in_an_outbox_is_sent_at_the_commit(layer: BaseChannelLayer) -> None:
    layer.group_add("g", "reply!a")
    layer.send("job", {})
    lease = layer.lease(["job"], 5.0)
    assert lease is not None
    outbox = Outbox()
    outbox.channel("reply!a", layer.encode({"n": 1}))
    outbox.group("g", layer.encode({"n": 2}))
    outbox.channel("reply!a", layer.encode({"n": 3}))
    assert received(layer, "reply!") == []
    assert layer.commit(lease, outbox) is None
    assert [message["n"] for _, message in received(layer, "reply!")] == [1, 2, 3]
