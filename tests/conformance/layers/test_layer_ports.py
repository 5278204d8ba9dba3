"""Ports: what a front relies on. Source: FEATURES 1 and 2; DESIGN "The front's queue and its death"."""

import select
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shmchan.layers.base import BaseChannelLayer, GroupReceivers, Outbox, Port

MakeLayer = Callable[..., BaseChannelLayer]
WEBSOCKET = ["websocket.connect", "websocket.receive", "websocket.disconnect"]


@pytest.fixture
def port(layer: BaseChannelLayer) -> Port:
    return layer.open_port()


def connect(port: Port, reply: str | None = None) -> str:
    reply = reply or port.new_reply_channel("websocket")
    port.connect(reply, {"reply_channel": reply, "path": "/", "order": 0}, owed(reply))
    return reply


def owed(reply: str) -> dict[str, Any]:
    return {"reply_channel": reply, "code": 1006, "path": "/", "order": 1}


def settle(layer: BaseChannelLayer) -> list[tuple[str, dict[str, Any]]]:
    """Everything a worker would get, in order."""
    found = []
    while (lease := layer.lease(WEBSOCKET, 0)) is not None:
        found.append((lease.channel, lease.content))
        layer.commit(lease, Outbox())
    return found


def rung(port: Port) -> Callable[[], bool]:
    """How to wait for the bell of a port, whichever it has."""
    descriptor = port.fileno()
    if descriptor is not None:
        return lambda: bool(select.select([descriptor], [], [], 30.0)[0])
    bell = threading.Event()
    port.on_ready(bell.set)
    return lambda: bell.wait(30.0)


def test_prefixes_and_reply_channels_belong_to_one_port(layer: BaseChannelLayer, port: Port) -> None:
    other = layer.open_port()
    names = [maker.new_reply_channel(kind) for maker in (port, other) for kind in ("http", "websocket") for _ in range(10)]
    assert len(set(names)) == 40
    assert port.http_prefix.startswith("http.response.")
    assert port.websocket_prefix.startswith("websocket.send.")
    assert all(prefix.endswith("!") for prefix in (port.http_prefix, port.websocket_prefix))
    assert len({port.http_prefix, other.http_prefix, port.websocket_prefix, other.websocket_prefix}) == 4
    assert all(name.startswith(port.http_prefix) for name in names[:10])
    assert all(name.startswith(port.websocket_prefix) for name in names[10:20])


def test_what_is_sent_to_a_reply_channel_is_drained_by_its_port(layer: BaseChannelLayer, port: Port) -> None:
    other = layer.open_port()
    first, second, third = port.new_reply_channel("http"), port.new_reply_channel("websocket"), other.new_reply_channel("http")
    layer.send(first, {"status": 200})
    layer.send(second, {"text": "a"})
    layer.send(third, {"status": 404})
    assert sorted(port.drain()) == [([first], {"status": 200}), ([second], {"text": "a"})]
    assert other.drain() == [([third], {"status": 404})]
    assert port.drain() == []


def test_a_drain_takes_the_oldest_and_at_most_its_limit(layer: BaseChannelLayer, port: Port) -> None:
    reply = port.new_reply_channel("websocket")
    for number in range(10):
        layer.send(reply, {"n": number})
    drained = [message["n"] for limit in (3, 100) for _, message in port.drain(limit)]
    assert drained == list(range(10))


def test_a_groups_message_is_one_entry_for_all_receivers_of_a_port(layer: BaseChannelLayer, port: Port) -> None:
    replies = [connect(port) for _ in range(20)]
    for reply in replies:
        layer.group_add("g", reply)
    layer.send_group("g", {"text": "hello"})
    ((receivers, message),) = port.drain()
    assert sorted(receivers) == sorted(replies)
    assert isinstance(receivers, GroupReceivers)
    assert receivers.group == "g"
    assert message == {"text": "hello"}
    assert port.drain() == []


def test_a_group_over_two_ports_and_a_channel_reaches_all_of_them(layer: BaseChannelLayer, port: Port) -> None:
    other = layer.open_port()
    mine, theirs = connect(port), connect(other)
    for channel in (mine, theirs, "log"):
        layer.group_add("g", channel)
    layer.send_group("g", {"n": 1})
    assert port.drain() == [([mine], {"n": 1})]
    assert other.drain() == [([theirs], {"n": 1})]
    assert layer.receive(["log"]) == ("log", {"n": 1})


def test_a_groups_message_keeps_its_place_among_a_connections_others(layer: BaseChannelLayer, port: Port) -> None:
    reply = connect(port)
    layer.group_add("g", reply)
    for number in range(6):
        if number % 2:
            layer.send_group("g", {"n": number})
        else:
            layer.send(reply, {"n": number})
    assert [message["n"] for _, message in port.drain()] == list(range(6))


def test_who_left_the_group_before_a_send_is_no_receiver(layer: BaseChannelLayer, port: Port) -> None:
    first, second = connect(port), connect(port)
    for reply in (first, second):
        layer.group_add("g", reply)
    layer.group_discard("g", first)
    layer.send_group("g", {"n": 1})
    assert port.drain() == [([second], {"n": 1})]


def test_what_was_drained_counts_until_it_is_credited(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=3)
    port = layer.open_port()
    reply, other = connect(port), connect(port)
    for number in range(3):
        layer.send(reply, {"n": number})
    assert len(port.drain()) == 3
    with pytest.raises(layer.ChannelFull):
        layer.send(reply, {"n": 3})
    layer.send(other, {})
    port.credit(reply, 2)
    layer.send(reply, {"n": 3})
    layer.send(reply, {"n": 4})
    with pytest.raises(layer.ChannelFull):
        layer.send(reply, {"n": 5})


def test_a_member_without_credit_does_not_get_a_groups_message(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=1, channel_capacity={"websocket.connect": 2})
    port = layer.open_port()
    slow, fast = connect(port), connect(port)
    for reply in (slow, fast):
        layer.group_add("g", reply)
    layer.send_group("g", {"n": 1})
    ((receivers, _),) = port.drain()
    assert sorted(receivers) == sorted([slow, fast])
    port.credit(fast)
    layer.send_group("g", {"n": 2})
    delivered = [(receivers, message) for receivers, message in port.drain() if slow not in receivers]
    assert delivered == [([fast], {"n": 2})]


def test_an_empty_drain_arms_the_bell_which_rings_for_the_next_message(layer: BaseChannelLayer, port: Port) -> None:
    wait = rung(port)
    reply = connect(port)
    for number in range(3):
        while port.drain():
            pass
        layer.send(reply, {"n": number})
        assert wait()
        assert port.drain() == [([reply], {"n": number})]
        port.credit(reply)


def test_the_bell_rings_for_what_another_thread_sends(layer: BaseChannelLayer, port: Port) -> None:
    wait = rung(port)
    reply = connect(port)
    layer.group_add("g", reply)
    assert port.drain() == []
    sender = threading.Thread(target=layer.send_group, args=("g", {"n": 1}))
    sender.start()
    assert wait()
    sender.join()
    assert port.drain() == [([reply], {"n": 1})]


def test_a_connections_messages_are_ordered_with_its_disconnect_at_the_end(layer: BaseChannelLayer, port: Port) -> None:
    reply = connect(port)
    for order in (1, 2):
        port.receive(reply, {"reply_channel": reply, "path": "/", "order": order, "text": "x"})
    port.disconnect(reply, 1001)
    found = settle(layer)
    assert [channel for channel, _ in found] == [
        "websocket.connect",
        "websocket.receive",
        "websocket.receive",
        "websocket.disconnect",
    ]
    assert [message["order"] for _, message in found] == [0, 1, 2, 3]
    assert found[-1][1] == {"reply_channel": reply, "code": 1001, "path": "/", "order": 3}


def test_a_disconnect_is_sent_once(layer: BaseChannelLayer, port: Port) -> None:
    reply = connect(port)
    port.disconnect(reply, 1000)
    port.disconnect(reply, 1006)
    port.disconnect(port.new_reply_channel("websocket"), 1000)
    assert [(channel, message.get("code")) for channel, message in settle(layer)] == [
        ("websocket.connect", None),
        ("websocket.disconnect", 1000),
    ]


def test_a_full_channel_refuses_a_connect_and_reserves_nothing(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2)
    port = layer.open_port()
    connect(port)
    connect(port)
    refused = port.new_reply_channel("websocket")
    with pytest.raises(layer.ChannelFull):
        connect(port, refused)
    port.disconnect(refused, 1006)
    assert [channel for channel, _ in settle(layer)] == ["websocket.connect"] * 2


def test_a_disconnect_is_never_refused_where_its_channel_is_full(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2)
    port = layer.open_port()
    replies = []
    for _ in range(5):
        replies.append(connect(port))
        assert len(settle(layer)) == 1
    for reply in replies:
        port.disconnect(reply, 1000)
    assert {message["reply_channel"] for _, message in settle(layer)} == set(replies)


def test_a_full_channel_refuses_a_receive_until_there_is_room(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=2)
    port = layer.open_port()
    reply = connect(port)
    settle(layer)
    message = {"reply_channel": reply, "path": "/", "text": "x"}
    port.receive(reply, {**message, "order": 1})
    port.receive(reply, {**message, "order": 2})
    with pytest.raises(layer.ChannelFull):
        port.receive(reply, {**message, "order": 3})
    assert len(settle(layer)) == 2
    port.receive(reply, {**message, "order": 3})
    port.disconnect(reply, 1000)
    assert [found["order"] for _, found in settle(layer)] == [3, 4]


def test_a_port_sends_requests_and_bodies(layer: BaseChannelLayer, port: Port) -> None:
    reply = port.new_reply_channel("http")
    body = layer.new_channel("http.request.body?")
    port.send("http.request", {"reply_channel": reply, "headers": [[b"host", b"x"]], "body_channel": body})
    port.send(body, {"content": b"x", "more_content": False})
    lease = layer.lease(["http.request"], 5.0)
    assert lease is not None
    assert lease.content["headers"] == [[b"host", b"x"]]
    assert layer.receive([body])[1] == {"content": b"x", "more_content": False}
    layer.commit(lease, Outbox())


def test_a_port_knows_whether_a_worker_listens(layer: BaseChannelLayer, port: Port) -> None:
    assert not port.listens("http.disconnect")
    layer.lease(["http.request", "http.disconnect"], 0)
    assert port.listens("http.disconnect")
    assert not port.listens("websocket.connect")


def test_a_closed_port_leaves_its_groups_and_owes_no_disconnect(layer: BaseChannelLayer, port: Port) -> None:
    first, second = connect(port), connect(port)
    layer.group_add("g", first)
    layer.group_add("g", "log")
    port.disconnect(second, 1000)
    layer.send(first, {"text": "never read"})
    port.close()
    port.close()
    assert layer.group_channels("g") == ["log"]
    disconnects = {
        message["reply_channel"]: message["code"] for channel, message in settle(layer) if channel == "websocket.disconnect"
    }
    assert disconnects == {first: 1006, second: 1000}


def test_sending_to_the_channels_of_a_closed_port_is_no_error(layer: BaseChannelLayer, port: Port) -> None:
    reply = connect(port)
    settle(layer)
    start = layer.global_statistics()["memory_used"]
    port.close()
    layer.send(reply, {"text": "x"})
    layer.group_add("g", reply)
    layer.send_group("g", {"text": "x"})
    settle(layer)
    assert layer.global_statistics()["memory_used"] <= start


def test_a_sender_may_keep_less_under_way_than_the_channel_holds(layer: BaseChannelLayer, port: Port) -> None:
    reply = port.new_reply_channel("http")
    payload = layer.encode({"content": b"piece"})
    for _ in range(3):
        assert layer.send_encoded(reply, payload, capacity=3)
    with pytest.raises(layer.ChannelFull):
        layer.send_encoded(reply, payload, capacity=3)
    assert len(port.drain()) == 3
    with pytest.raises(layer.ChannelFull):
        layer.send_encoded(reply, payload, capacity=3)
    assert layer.send_encoded(reply, payload)  # the channel itself has room
    port.drain()
    port.credit(reply, 4)
    assert layer.send_encoded(reply, payload, capacity=3)


def test_sending_to_a_front_that_died_says_so(layer: BaseChannelLayer, port: Port) -> None:
    reply = port.new_reply_channel("http")
    payload = layer.encode({"content": b"piece"})
    assert layer.send_encoded(reply, payload)
    port.close()
    assert not layer.send_encoded(reply, payload)
