"""Leases, lanes and outboxes: what a worker relies on. Source: FEATURES 3 and 4; DESIGN "Leases", "Outbox", "Lanes"."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from shmchan.layers.base import POLICIES, BaseChannelLayer, Lease, Outbox

MakeLayer = Callable[..., BaseChannelLayer]
Until = Callable[[Callable[[], Any]], Any]
DELAY = 0.2
WEBSOCKET = ["websocket.connect", "websocket.receive", "websocket.disconnect"]


def take(layer: BaseChannelLayer, *channels: str) -> Lease:
    """A lease that must be there."""
    lease = layer.lease(list(channels), 10.0)
    assert lease is not None
    return lease


def nothing(layer: BaseChannelLayer, *channels: str) -> bool:
    return layer.lease(list(channels), 0) is None


def outbox(layer: BaseChannelLayer, *sends: tuple[str, dict[str, Any]]) -> Outbox:
    box = Outbox()
    for channel, message in sends:
        box.channel(channel, layer.encode(message))
    return box


def test_a_leased_message_is_with_nobody_else_until_it_is_committed(layer: BaseChannelLayer) -> None:
    layer.send("job", {"n": 1})
    lease = take(layer, "job")
    assert (lease.channel, lease.content, lease.attempts) == ("job", {"n": 1}, 0)
    assert nothing(layer, "job")
    assert layer.receive(["job"]) == (None, None)
    assert layer.commit(lease, Outbox()) is None
    assert nothing(layer, "job")


def test_without_messages_a_lease_ends_after_its_timeout(layer: BaseChannelLayer) -> None:
    assert layer.lease(["job"], 0) is None
    assert layer.lease(["job"], 0.02) is None


def test_a_lease_waits_for_a_message(layer: BaseChannelLayer) -> None:
    found: list[Lease | None] = []
    waiting = threading.Thread(target=lambda: found.append(layer.lease(["a", "job"], 30.0)))
    waiting.start()
    layer.send("job", {"n": 1})
    waiting.join(30.0)
    assert found[0] is not None
    assert found[0].content == {"n": 1}
    layer.commit(found[0], Outbox())


def test_unkeyed_messages_are_leased_in_parallel(layer: BaseChannelLayer) -> None:
    for number in range(3):
        layer.send("job", {"n": number})
    leases = [take(layer, "job") for _ in range(3)]
    assert [lease.content["n"] for lease in leases] == [0, 1, 2]
    for lease in reversed(leases):
        layer.commit(lease, Outbox())


def test_one_connections_messages_are_leased_one_at_a_time_in_order(layer: BaseChannelLayer) -> None:
    layer.send("websocket.connect", {"reply_channel": "r!x", "order": 0})
    layer.send("websocket.receive", {"reply_channel": "r!x", "order": 1})
    layer.send("websocket.receive", {"reply_channel": "r!x", "order": 2})
    layer.send("websocket.disconnect", {"reply_channel": "r!x", "order": 3})
    for order in range(4):
        lease = take(layer, *WEBSOCKET)
        assert lease.content["order"] == order
        assert nothing(layer, *WEBSOCKET)
        layer.commit(lease, Outbox())
    assert nothing(layer, *WEBSOCKET)


def test_connections_are_leased_in_parallel(layer: BaseChannelLayer) -> None:
    for number in range(5):
        for order in range(2):
            layer.send("websocket.receive", {"reply_channel": f"r!{number}", "order": order})
    leases = [take(layer, *WEBSOCKET) for _ in range(5)]
    assert {lease.content["reply_channel"] for lease in leases} == {f"r!{number}" for number in range(5)}
    assert all(lease.content["order"] == 0 for lease in leases)
    assert nothing(layer, *WEBSOCKET)
    for lease in leases:
        layer.commit(lease, Outbox())
    assert all(take(layer, *WEBSOCKET).content["order"] == 1 for _ in range(5))


def test_a_later_message_of_a_connection_waits_also_on_another_channel(layer: BaseChannelLayer) -> None:
    layer.send("websocket.connect", {"reply_channel": "r!x"})
    layer.send("websocket.receive", {"reply_channel": "r!x"})
    assert nothing(layer, "websocket.receive")
    lease = take(layer, "websocket.connect")
    assert nothing(layer, "websocket.receive")
    layer.commit(lease, Outbox())
    layer.commit(take(layer, "websocket.receive"), Outbox())


def test_a_waiting_worker_is_woken_when_a_lane_becomes_free(layer: BaseChannelLayer) -> None:
    for order in range(2):
        layer.send("websocket.receive", {"reply_channel": "r!x", "order": order})
    first = take(layer, "websocket.receive")
    found: list[Lease | None] = []
    waiting = threading.Thread(target=lambda: found.append(layer.lease(["websocket.receive"], 30.0)))
    waiting.start()
    layer.commit(first, Outbox())
    waiting.join(30.0)
    assert found[0] is not None
    assert found[0].content["order"] == 1
    layer.commit(found[0], Outbox())


def test_websocket_messages_without_reply_channel_have_no_order(layer: BaseChannelLayer) -> None:
    layer.send("websocket.receive", {"n": 0})
    layer.send("websocket.receive", {"n": 1})
    assert [take(layer, "websocket.receive").content["n"] for _ in range(2)] == [0, 1]


def test_other_channels_have_no_lanes(layer: BaseChannelLayer) -> None:
    layer.send("job", {"reply_channel": "r!x", "n": 0})
    layer.send("job", {"reply_channel": "r!x", "n": 1})
    assert [take(layer, "job").content["n"] for _ in range(2)] == [0, 1]


def test_a_parallel_channel_gives_up_its_order(layer: BaseChannelLayer) -> None:
    layer.declare_parallel("websocket.receive")
    layer.send("websocket.receive", {"reply_channel": "r!x", "n": 0})
    layer.send("websocket.receive", {"reply_channel": "r!x", "n": 1})
    assert [take(layer, "websocket.receive").content["n"] for _ in range(2)] == [0, 1]


def test_what_is_leased_makes_room_in_its_channel_and_receive_sees_the_next(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2)
    layer.send("job", {"n": 0})
    layer.send("job", {"n": 1})
    lease = take(layer, "job")
    assert layer.receive(["job"]) == ("job", {"n": 1})
    layer.commit(lease, Outbox())


def test_a_commit_sends_its_outbox_in_call_order(layer: BaseChannelLayer) -> None:
    layer.send("job", {})
    sends = [(f"reply!{number % 2}", {"n": number}) for number in range(10)]
    assert layer.commit(take(layer, "job"), outbox(layer, *sends)) is None
    assert [layer.receive(["reply!"]) for _ in range(10)] == sends


def test_an_outbox_goes_to_channels_of_every_kind(layer: BaseChannelLayer) -> None:
    layer.send("job", {})
    sends: list[tuple[str, dict[str, Any]]] = [("a", {"n": 1}), ("b?x", {"n": 2}), ("reply!x", {"n": 3}), ("job", {"n": 4})]
    assert layer.commit(take(layer, "job"), outbox(layer, *sends)) is None
    assert [layer.receive(["a"]), layer.receive(["b?x"]), layer.receive(["reply!"]), layer.receive(["job"])] == sends


def test_an_outbox_can_drop_one_target_or_everything(layer: BaseChannelLayer) -> None:
    box = outbox(layer, ("a", {"n": 1}), ("b", {"n": 2}), ("a", {"n": 3}))
    box.group("a", layer.encode({}))
    box.drop("a")
    assert [(kind, name) for kind, name, _ in box.items] == [("channel", "b"), ("group", "a")]
    box.clear()
    assert box.items == []


def test_messages_from_an_outbox_join_their_lane(layer: BaseChannelLayer) -> None:
    layer.send("job", {})
    sends = [("websocket.receive", {"reply_channel": "r!x", "order": order}) for order in range(2)]
    layer.commit(take(layer, "job"), outbox(layer, *sends))
    lease = take(layer, "websocket.receive")
    assert nothing(layer, "websocket.receive")
    layer.commit(lease, Outbox())
    assert take(layer, "websocket.receive").content["order"] == 1


def test_encoded_messages_can_be_sent_with_a_key(layer: BaseChannelLayer) -> None:
    for number in range(2):
        layer.send_encoded("websocket.receive", layer.encode({"n": number}), "r!x")
    layer.send_encoded("job", layer.encode({"n": 2}))
    assert take(layer, "websocket.receive").content == {"n": 0}
    assert nothing(layer, "websocket.receive")
    assert take(layer, "job").content == {"n": 2}


def test_sending_encoded_to_a_full_channel_is_refused(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=1)
    layer.send_encoded("job", layer.encode({}))
    with pytest.raises(layer.ChannelFull):
        layer.send_encoded("job", layer.encode({}))


def test_an_outbox_whose_target_is_full_is_parked_and_goes_out_when_there_is_room(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2)
    for number in range(2):
        layer.send("target", {"n": number})
    layer.send("job", {})
    parked = layer.commit(take(layer, "job"), outbox(layer, ("before", {}), ("target", {"n": 2}), ("after", {})))
    assert parked is not None
    assert not layer.push(parked)
    assert layer.receive(["after"]) == (None, None)
    assert layer.receive(["target"]) == ("target", {"n": 0})
    assert layer.push(parked)
    assert parked.dropped == {}
    assert [layer.receive(["target"])[1] for _ in range(2)] == [{"n": 1}, {"n": 2}]
    assert layer.receive(["before"]) == ("before", {})
    assert layer.receive(["after"]) == ("after", {})


def test_more_than_a_channel_holds_is_sent_as_it_is_read(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2)
    layer.send("job", {})
    parked = layer.commit(take(layer, "job"), outbox(layer, *(("target", {"n": number}) for number in range(7))))
    assert parked is not None
    read = []
    while not layer.push(parked):
        read.append(layer.receive(["target"])[1])
    while (message := layer.receive(["target"])[1]) is not None:
        read.append(message)
    assert read == [{"n": number} for number in range(7)]


def test_while_an_outbox_is_parked_its_lane_waits_and_others_go_on(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=1)
    layer.send("target", {})
    layer.declare_parallel("websocket.disconnect")
    layer.send("websocket.connect", {"reply_channel": "r!x"})
    parked = layer.commit(take(layer, *WEBSOCKET), outbox(layer, ("target", {"n": 1})))
    assert parked is not None
    layer.send("websocket.receive", {"reply_channel": "r!x"})
    assert nothing(layer, *WEBSOCKET)
    layer.send("websocket.connect", {"reply_channel": "r!y"})
    other = take(layer, *WEBSOCKET)
    assert other.content["reply_channel"] == "r!y"
    layer.commit(other, Outbox())
    layer.receive(["target"])
    assert layer.push(parked)
    assert take(layer, *WEBSOCKET).content["reply_channel"] == "r!x"


def test_what_is_owed_for_too_long_is_given_up_and_counted_by_target(make_layer: MakeLayer, until: Until) -> None:
    layer = make_layer(capacity=1)
    layer.send("full", {"n": 0})
    layer.send("websocket.receive", {"reply_channel": "r!x", "order": 0})
    sends = [("full", {"n": 1}), ("free", {"n": 2}), ("full", {"n": 3})]
    parked = layer.commit(take(layer, "websocket.receive"), outbox(layer, *sends))
    assert parked is not None
    until(lambda: layer.push(parked))
    assert parked.dropped == {"full": 2}
    assert layer.receive(["free"]) == ("free", {"n": 2})
    layer.send("websocket.receive", {"reply_channel": "r!x", "order": 1})
    assert take(layer, "websocket.receive").content["order"] == 1


def test_a_requeued_message_comes_again_at_the_head_of_its_lane(layer: BaseChannelLayer) -> None:
    for order in range(3):
        layer.send("websocket.receive", {"reply_channel": "r!x", "order": order})
    layer.requeue(take(layer, "websocket.receive"))
    lease = take(layer, "websocket.receive")
    assert (lease.content["order"], lease.attempts) == (0, 1)
    layer.requeue(lease)
    for order in range(3):
        lease = take(layer, "websocket.receive")
        assert (lease.content["order"], lease.attempts) == (order, 0 if order else 2)
        layer.commit(lease, Outbox())


def test_a_requeued_message_without_a_lane_goes_to_the_tail(layer: BaseChannelLayer) -> None:
    for number in range(3):
        layer.send("job", {"n": number})
    layer.requeue(take(layer, "job"))
    assert [take(layer, "job").content["n"] for _ in range(3)] == [1, 2, 0]


def test_a_message_requeued_with_a_delay_is_away_and_comes_back(layer: BaseChannelLayer) -> None:
    layer.send("job", {"n": 0})
    lease = take(layer, "job")
    started = time.monotonic()
    layer.requeue(lease, DELAY)
    lease = take(layer, "job")
    assert time.monotonic() - started >= DELAY
    assert (lease.content, lease.attempts) == ({"n": 0}, 1)
    layer.commit(lease, Outbox())


def test_while_a_lanes_head_is_delayed_the_lane_waits_and_others_go_on(layer: BaseChannelLayer) -> None:
    for order in range(2):
        layer.send("websocket.receive", {"reply_channel": "r!x", "order": order})
    lease = take(layer, "websocket.receive")
    started = time.monotonic()
    layer.requeue(lease, DELAY)
    layer.send("websocket.receive", {"reply_channel": "r!y", "order": 7})
    seen = []
    for _ in range(3):
        lease = take(layer, "websocket.receive")
        seen.append(lease.content["order"])
        assert lease.content["order"] == 7 or time.monotonic() - started >= DELAY
        layer.commit(lease, Outbox())
    assert sorted(seen) == [0, 1, 7]
    assert seen.index(0) < seen.index(1)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_crash_policy_can_be_set(layer: BaseChannelLayer, policy: Any) -> None:
    layer.send("job", {})
    lease = take(layer, "job")
    layer.set_policy(lease, policy)
    assert layer.commit(lease, Outbox()) is None


def test_a_crash_policy_that_does_not_exist_is_a_value_error(layer: BaseChannelLayer) -> None:
    layer.send("job", {})
    lease = take(layer, "job")
    wrong: Any = "explode"
    with pytest.raises(ValueError, match="notify"):
        layer.set_policy(lease, wrong)
    layer.commit(lease, Outbox())


def test_a_lease_is_settled_once(layer: BaseChannelLayer) -> None:
    layer.send("job", {})
    lease = take(layer, "job")
    layer.commit(lease, Outbox())
    with pytest.raises(ValueError, match="already"):
        layer.commit(lease, outbox(layer, ("a", {})))
    with pytest.raises(ValueError, match="already"):
        layer.requeue(lease)
    assert layer.receive(["a"]) == (None, None)


def test_many_threads_lease_each_message_once(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=1000)
    for number in range(300):
        layer.send("websocket.receive", {"reply_channel": f"r!{number % 7}", "n": number})
    seen: list[int] = []

    def work() -> None:
        while (lease := layer.lease(["websocket.receive"], 0.05)) is not None:
            seen.append(lease.content["n"])
            layer.commit(lease, Outbox())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert sorted(seen) == list(range(300))
    for key in range(7):
        assert [number for number in seen if number % 7 == key] == list(range(key, 300, 7))
