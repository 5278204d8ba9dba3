"""What a group's history promises: the last messages with their places, in order, without holes, and a gap that is told."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from shmchan import Group
from shmchan.exceptions import LayerClosed, MessageTooLarge
from shmchan.layers.base import BaseChannelLayer, Outbox
from shmchan.layers.memories import MAX_KEPT_SIZE

MakeLayer = Callable[..., BaseChannelLayer]


def numbers(messages: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """What was sent, and its offset."""
    return [(message["n"], message["history"]["offset"]) for message in messages]


def drained(port: Any) -> list[dict[str, Any]]:
    found = []
    while batch := port.drain():
        found += [message for _, message in batch]
    return found


def test_what_was_missed_comes_back_with_its_place(layer: BaseChannelLayer) -> None:
    group = Group("room", channel_layer=layer, history=10)
    assert group.since(None, 0) == ([], False, layer.epoch, 0)
    for n in range(1, 5):
        group.send({"n": n, "deep": [b"\x00", {"é": None}]})
    missed = group.since(layer.epoch, 2)
    assert numbers(missed.messages) == [(3, 3), (4, 4)]
    assert not missed.gap
    assert (missed.epoch, missed.offset) == (layer.epoch, 4)
    place = {"group": "room", "epoch": layer.epoch, "offset": 3}
    assert missed.messages[0] == {"n": 3, "deep": [b"\x00", {"é": None}], "history": place}
    assert group.since(layer.epoch, 4) == ([], False, layer.epoch, 4)


def test_who_knows_nothing_is_told_of_a_gap_only_when_something_was_forgotten(layer: BaseChannelLayer) -> None:
    group = Group("room", channel_layer=layer, history=3)
    for n in range(1, 4):
        group.send({"n": n})
        missed = group.since(None, 0)
        assert (missed.gap, missed.offset, len(missed.messages)) == (False, n, n)
    group.send({"n": 4})
    missed = group.since(None, 0)
    assert (missed.gap, numbers(missed.messages)) == (True, [(2, 2), (3, 3), (4, 4)])
    assert Group("another", channel_layer=layer, history=3).since(None, 0).gap is False
    layer.flush()
    assert group.since(None, 0) == ([], True, layer.epoch, 4)


def test_members_get_the_place_with_the_message(layer: BaseChannelLayer) -> None:
    port = layer.open_port()
    reply = port.new_reply_channel("websocket")
    group = Group("room", channel_layer=layer, history=10)
    for channel in (reply, "worker", "single?x", "other!y"):
        group.add(channel)
    for n in (1, 2, 3):
        group.send({"n": n})
    assert numbers(drained(port)) == [(1, 1), (2, 2), (3, 3)]
    for channel in ("worker", "single?x", "other!"):
        got = [layer.receive([channel])[1] for _ in range(3)]
        assert numbers([message for message in got if message]) == [(1, 1), (2, 2), (3, 3)]
    assert numbers(group.since(layer.epoch, 0).messages) == [(1, 1), (2, 2), (3, 3)]
    port.close()


def test_a_history_keeps_so_many_and_tells_of_the_gap(layer: BaseChannelLayer) -> None:
    group = Group("room", channel_layer=layer, history=3)
    for n in range(1, 11):
        group.send({"n": n})
    assert numbers(group.since(layer.epoch, 7).messages) == [(8, 8), (9, 9), (10, 10)]
    assert group.since(layer.epoch, 7).gap is False
    missed = group.since(layer.epoch, 6)
    assert missed.gap
    assert numbers(missed.messages) == [(8, 8), (9, 9), (10, 10)]
    assert group.since("an older epoch", 9) == (missed.messages, True, layer.epoch, 10)
    assert group.since(layer.epoch, 11) == (missed.messages, True, layer.epoch, 10)


def test_a_history_is_bounded_in_bytes(make_layer: MakeLayer) -> None:
    layer = make_layer(memory=16 << 20, max_message_size=1 << 20)
    group = Group("room", channel_layer=layer, history=10_000)
    for n in range(200):
        group.send({"n": n, "text": "x" * 60_000})
    missed = group.since(layer.epoch, 0)
    assert missed.gap
    assert missed.offset == 200
    assert 8 <= len(missed.messages) <= 18
    for name in range(40):
        for _ in range(20):
            Group(f"room-{name}", channel_layer=layer, history=100).send({"n": 1, "text": "x" * 60_000})
    assert layer.global_statistics()["memory_used"] <= 5 << 20
    assert group.since(layer.epoch, 199).gap, "the group that was silent for longest forgets first"
    layer.send("a", {"text": "x" * 900_000})


def test_a_history_goes_on_where_it_stopped_when_it_was_thrown_away(layer: BaseChannelLayer) -> None:
    group = Group("room", channel_layer=layer, history=10)
    for n in (1, 2, 3):
        group.send({"n": n})
    layer.flush()
    assert layer.global_statistics()["memory_used"] == 0
    assert group.since(layer.epoch, 2).gap
    group.send({"n": 4})
    assert group.since(layer.epoch, 2).gap
    assert numbers(group.since(layer.epoch, 3).messages) == [(4, 4)]


def test_a_consumer_s_messages_are_kept_with_its_commit_or_not_at_all(layer: BaseChannelLayer) -> None:
    layer.group_add("room", "member")
    layer.send("jobs", {})
    lease = layer.lease(["jobs"], 10.0)
    assert lease is not None
    outbox = Outbox()
    for n in (1, 2):
        outbox.group("room", layer.encode_kept("room", {"n": n}, 10))
    assert layer.group_since("room", layer.epoch, 0).messages == []
    assert layer.commit(lease, outbox) is None
    assert numbers(layer.group_since("room", layer.epoch, 0).messages) == [(1, 1), (2, 2)]
    assert layer.receive(["member"])[1] == {"n": 1, "history": {"group": "room", "epoch": layer.epoch, "offset": 1}}


def test_what_is_sent_without_a_history_is_not_kept(layer: BaseChannelLayer) -> None:
    layer.group_add("room", "member")
    Group("room", channel_layer=layer, history=3).send({"n": 1})
    Group("room", channel_layer=layer).send({"n": 2})
    assert len(layer.group_since("room", layer.epoch, 0).messages) == 1
    layer.receive(["member"])
    assert layer.receive(["member"]) == ("member", {"n": 2})


def test_a_message_may_be_sent_again_as_it_came_and_have_any_number_of_keys(layer: BaseChannelLayer) -> None:
    group = Group("room", channel_layer=layer, history=30)
    for count in (0, 13, 14, 15, 16, 40):
        group.send({f"k{n}": n for n in range(count)})
    kept = group.since(layer.epoch, 0).messages
    assert [len(message) for message in kept] == [1, 14, 15, 16, 17, 41]
    group.send(kept[-1])
    assert group.since(layer.epoch, 6).messages[0]["history"]["offset"] == 7


def test_wrong_use_is_told(layer: BaseChannelLayer) -> None:
    group = Group("room", channel_layer=layer, history=3)
    with pytest.raises(MessageTooLarge, match=r"to a group without one: Group\('room'\)$"):
        group.send({"text": "x" * MAX_KEPT_SIZE})
    with pytest.raises(MessageTooLarge, match=r"at most 65000 are carried; no option allows more in a history") as caught:
        group.send({"text": "x" * (16 << 20)})
    assert "--" not in str(caught.value)
    assert (caught.value.limit, caught.value.size > 16 << 20) == (MAX_KEPT_SIZE, True)
    with pytest.raises(TypeError, match="'n'"):
        group.send({"n": {1}})
    for wrong in (-1, 10_001, True, 2.0):
        with pytest.raises(ValueError, match="0 to 10000"):
            Group("room", history=wrong)  # type: ignore[arg-type]
    assert group.since(layer.epoch, 0).messages == []


def test_each_front_gets_them_in_the_order_of_their_offsets_whoever_sends(layer: BaseChannelLayer) -> None:
    ports = [layer.open_port() for _ in range(2)]
    group = Group("room", channel_layer=layer, history=10_000)
    for port in ports:
        group.add(port.new_reply_channel("websocket"))

    def send_many() -> None:
        for _ in range(300):
            group.send({"n": 1})

    senders = [threading.Thread(target=send_many) for _ in range(4)]
    for sender in senders:
        sender.start()
    got: list[list[dict[str, Any]]] = [[], []]
    while any(sender.is_alive() for sender in senders):
        for port, found in zip(ports, got, strict=True):
            for receivers, message in port.drain():
                found.append(message)
                for receiver in receivers:
                    port.credit(receiver)
    for sender in senders:
        sender.join()
    for port, found in zip(ports, got, strict=True):
        found += drained(port)
        offsets = [message["history"]["offset"] for message in found]
        assert offsets == sorted(set(offsets))
        assert offsets[-1] <= 1200
        port.close()
    assert [offset for _, offset in numbers(group.since(layer.epoch, 0).messages)] == [*range(1, 1201)]


def test_a_closed_layer_has_no_history(unmanaged_layer: MakeLayer) -> None:
    layer = unmanaged_layer()
    layer.close()
    with pytest.raises(LayerClosed):
        layer.group_since("room", None, 0)
