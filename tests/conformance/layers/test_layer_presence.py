"""Who is in a group: each user once, told of once, and gone with the last of their channels."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shmchan import Group
from shmchan.exceptions import LayerClosed
from shmchan.layers.base import BaseChannelLayer

MakeLayer = Callable[..., BaseChannelLayer]


def heard(layer: BaseChannelLayer, channel: str = "listener") -> list[tuple[str, Any]]:
    """What a member was told, and by nobody else."""
    found = []
    while (message := layer.receive([channel])[1]) is not None:
        assert message["event"] == "presence"
        assert message["data"] == message["text"]
        word = json.loads(message["text"])
        assert word["group"] == "room"
        found.append((word["presence"], word["user"]))
    return found


@pytest.fixture
def room(layer: BaseChannelLayer) -> Group:
    group = Group("room", channel_layer=layer, presence=True)
    group.add("listener")
    return group


def test_a_user_is_there_once_however_many_channels(layer: BaseChannelLayer, room: Group) -> None:
    for channel in ("a", "b", "c", "a"):
        room.add(channel, 7)
    room.add("d", "ann")
    assert [*room.members()] == [7, "ann"]
    assert heard(layer) == [("join", 7), ("join", "ann")]
    for channel in ("a", "b"):
        room.discard(channel)
    assert heard(layer) == []
    room.discard("c")
    room.discard("c")
    assert heard(layer) == [("leave", 7)]
    assert [*room.members()] == ["ann"]
    assert 1.7e9 < room.members()["ann"] < 1e11


def test_the_time_is_that_of_the_first_channel_and_groups_are_apart(layer: BaseChannelLayer, room: Group) -> None:
    other = Group("other", channel_layer=layer, presence=True)
    room.add("a", 7)
    since = room.members()[7]
    room.add("b", 7)
    room.discard("a")
    assert room.members() == {7: since}
    assert other.members() == {}
    other.add("a", 7)
    room.discard("b")
    assert [*other.members()] == [7]
    assert room.members() == {}


def test_a_membership_may_change_its_user(layer: BaseChannelLayer, room: Group) -> None:
    room.add("a", 1)
    room.add("a", 2)
    assert sorted(heard(layer)) == [("join", 1), ("join", 2), ("leave", 1)]
    assert [*room.members()] == [2]
    room.add("a")
    assert [*room.members()] == [2], "a renewal without a user changes nothing"


def test_users_are_ids_or_objects_and_nobody_is_not_seen(layer: BaseChannelLayer, room: Group) -> None:
    room.add("a", SimpleNamespace(pk=3, is_authenticated=True))
    room.add("b", SimpleNamespace(id="x"))
    room.add("c", SimpleNamespace(is_authenticated=False))
    room.add("d")
    assert {*room.members()} == {3, "x"}
    assert len(layer.group_channels("room")) == 5
    for wrong in (1.5, b"x", True, object(), [1]):
        with pytest.raises(TypeError, match="str or an int"):
            room.add("e", wrong)
    with pytest.raises(ValueError, match="presence=True"):
        Group("room", channel_layer=layer).add("a", 1)


@pytest.mark.parametrize("user", ["a" * 98, "é" * 49, "😀" * 24, "", 0, -(1 << 63), (1 << 63) - 1])
def test_ids_up_to_their_limit_are_taken(room: Group, user: str | int) -> None:
    room.add("a", user)
    assert [*room.members()] == [user]


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (
            "a" * 99,
            r"a user's id, .* has at most 98 bytes in UTF-8; this one, 'aaaaaaaaaaaaaaaaaaaa…', has 99: give a shorter one",
        ),
        ("é" * 50, "has 100"),
        ("a" * 100_000, "has 100000"),
        (1 << 63, "a user's id fits into signed 64 bits"),
        ("\ud800", "a str that UTF-8 can carry"),
    ],
)
def test_ids_beyond_their_limit_are_refused_in_words(layer: BaseChannelLayer, room: Group, user: str | int, words: str) -> None:
    for given in (user, SimpleNamespace(pk=user)):
        with pytest.raises(ValueError, match=words):
            room.add("a", given)
    assert room.members() == {}
    assert "a" not in layer.group_channels("room")


def test_a_channel_that_is_gone_leaves_all_groups_in_which_it_has_a_user(layer: BaseChannelLayer, room: Group) -> None:
    port = layer.open_port()
    one, two = (port.new_reply_channel("websocket") for _ in range(2))
    other = Group("other", channel_layer=layer, presence=True)
    plain = Group("plain", channel_layer=layer)
    for group in (room, other):
        group.add(one, 7)
    room.add(two, 8)
    plain.add(one)
    port.left(one)
    port.left("websocket.send.nobody!x")
    assert [*room.members()] == [8]
    assert other.members() == {}
    assert layer.group_channels("plain") == [one]
    assert layer.lease(["nothing"], 0.0) is None, "a worker tells what a front has noted"
    assert heard(layer) == [("join", 7), ("join", 8), ("leave", 7)]
    port.close()
    assert room.members() == {}
    assert layer.lease(["nothing"], 0.0) is None
    assert heard(layer) == [("leave", 8)]


def test_a_connection_that_ends_takes_its_user_along(layer: BaseChannelLayer, room: Group) -> None:
    port = layer.open_port()
    reply = port.new_reply_channel("websocket")
    port.connect(reply, {"reply_channel": reply}, {"reply_channel": reply, "code": 1006, "path": "/", "order": 0})
    room.add(reply, 7)
    port.disconnect(reply, 200)
    assert room.members() == {}
    port.close()


def test_memberships_that_nobody_renews_end(make_layer: MakeLayer, until: Any) -> None:
    layer = make_layer(group_expiry=0.05)
    room = Group("room", channel_layer=layer, presence=True)
    room.add("a", 7)
    until(lambda: not room.members())
    room.add("a", 8)
    assert [*room.members()] in ([8], [])


def test_a_flush_ends_everything(layer: BaseChannelLayer, room: Group) -> None:
    room.add("a", 7)
    heard(layer)
    layer.flush()
    assert room.members() == {}
    room.add("listener")
    room.add("a", 7)
    assert heard(layer) == [("join", 7)]


def test_many_users_come_and_go(layer: BaseChannelLayer) -> None:
    room = Group("room", channel_layer=layer, presence=True)
    for n in range(200):
        room.add(f"a{n}", n)
        room.add(f"b{n}", n)
    assert [*sorted(room.members())] == [*range(200)]
    for n in range(200):
        room.discard(f"a{n}")
        if n % 2:
            room.discard(f"b{n}")
    assert [*sorted(room.members())] == [*range(0, 200, 2)]


def test_a_closed_layer_has_no_users(unmanaged_layer: MakeLayer) -> None:
    layer = unmanaged_layer()
    layer.close()
    for call in (layer.group_users, lambda name: layer.group_add(name, "a", 1)):
        with pytest.raises(LayerClosed):
            call("room")
