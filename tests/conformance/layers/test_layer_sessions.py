"""What a layer keeps for a connection: replaced as a whole, gone with its disconnect."""

from collections.abc import Callable
from typing import Any

import pytest

from shmchan.exceptions import ChannelFull, LayerClosed, MessageTooLarge
from shmchan.layers.base import MAX_SESSION_SIZE, BaseChannelLayer, Outbox

MakeLayer = Callable[..., BaseChannelLayer]
REPLY = "websocket.send.a!x"


def used(layer: BaseChannelLayer) -> int:
    return layer.global_statistics()["memory_used"]


def connected(layer: BaseChannelLayer) -> tuple[Any, str]:
    """A port with a connection whose connect is consumed."""
    port = layer.open_port()
    reply = port.new_reply_channel("websocket")
    port.connect(reply, {"reply_channel": reply}, {"reply_channel": reply, "code": 1006, "path": "/", "order": 0})
    consume(layer, "websocket.connect")
    return port, reply


def consume(layer: BaseChannelLayer, channel: str, outbox: Outbox | None = None) -> None:
    lease = layer.lease([channel], 10.0)
    assert lease is not None
    assert layer.commit(lease, outbox or Outbox()) is None


def test_what_is_saved_is_loaded_by_its_reply_channel_alone(layer: BaseChannelLayer) -> None:
    before = used(layer)
    assert layer.session_load(REPLY) is None
    data = {"user": 7, "deep": {"list": [b"\x00", "é", None, 1.5]}}
    layer.session_save(REPLY, data)
    data["user"] = 8
    assert layer.session_load(REPLY) == {**data, "user": 7}
    assert layer.session_load("websocket.send.a!y") is None
    assert used(layer) > before
    layer.session_drop(REPLY)
    layer.session_drop(REPLY)
    assert layer.session_load(REPLY) is None
    assert used(layer) == before


def test_a_save_replaces_what_was_kept(layer: BaseChannelLayer) -> None:
    before = used(layer)
    for n in (1, 30_000, 10, MAX_SESSION_SIZE - 20):
        layer.session_save(REPLY, {"n": "x" * n})
        assert layer.session_load(REPLY) == {"n": "x" * n}
    layer.session_drop(REPLY)
    assert used(layer) == before


def test_what_cannot_be_kept_leaves_what_was_kept_before(layer: BaseChannelLayer) -> None:
    layer.session_save(REPLY, {"n": 1})
    with pytest.raises(MessageTooLarge):
        layer.session_save(REPLY, {"n": "x" * MAX_SESSION_SIZE})
    with pytest.raises(TypeError, match="'n'"):
        layer.session_save(REPLY, {"n": {1}})
    with pytest.raises(TypeError):
        layer.session_save("no name", {})
    assert layer.session_load(REPLY) == {"n": 1}


@pytest.mark.parametrize("with_outbox", [False, True])
def test_a_session_goes_with_its_disconnect_and_not_before(layer: BaseChannelLayer, with_outbox: bool) -> None:
    port, reply = connected(layer)
    before = used(layer)
    layer.session_save(reply, {"n": 1})
    port.receive(reply, {"reply_channel": reply, "text": "x", "order": 1})
    consume(layer, "websocket.receive")
    port.disconnect(reply, 1000)
    lease = layer.lease(["websocket.disconnect"], 10.0)
    assert lease is not None
    assert layer.session_load(reply) == {"n": 1}
    layer.requeue(lease)
    assert layer.session_load(reply) == {"n": 1}
    outbox = Outbox()
    if with_outbox:
        outbox.channel("jobs", layer.encode({"bye": True}))
    consume(layer, "websocket.disconnect", outbox)
    assert layer.session_load(reply) is None
    if with_outbox:
        assert layer.receive(["jobs"]) == ("jobs", {"bye": True})
    assert used(layer) <= before
    port.close()


def test_a_session_goes_with_a_disconnect_that_is_in_no_lane(layer: BaseChannelLayer) -> None:
    layer.declare_parallel("websocket.disconnect")
    layer.session_save(REPLY, {"n": 1})
    layer.session_save("websocket.send.a!y", {"n": 2})
    layer.send("websocket.disconnect", {"reply_channel": REPLY})
    consume(layer, "websocket.disconnect")
    assert layer.session_load(REPLY) is None
    assert layer.session_load("websocket.send.a!y") == {"n": 2}


def test_a_front_that_leaves_takes_its_sessions_along(layer: BaseChannelLayer) -> None:
    port, reply = connected(layer)
    layer.session_save(reply, {"n": 1})
    port.close()
    assert layer.session_load(reply) == {"n": 1}
    consume(layer, "websocket.disconnect")
    assert layer.session_load(reply) is None


def test_a_flush_leaves_only_the_sessions_of_who_is_connected(layer: BaseChannelLayer) -> None:
    port, reply = connected(layer)
    layer.session_save(reply, {"n": 1})
    layer.session_save(REPLY, {"n": 2})
    layer.flush()
    assert layer.session_load(reply) == {"n": 1}
    assert layer.session_load(REPLY) is None
    port.close()


def test_sessions_that_nobody_saved_for_long_make_room_again(make_layer: MakeLayer) -> None:
    layer = make_layer(group_expiry=0.001)
    for n in range(3000):
        try:
            layer.session_save(f"websocket.send.a!{n}", {"n": n})
        except ChannelFull:  # the table is full of those that are too young to go
            continue
    assert layer.session_load("websocket.send.a!0") is None
    assert used(layer) < 32 << 20


def test_the_session_of_a_request_is_kept_for_minutes(make_layer: MakeLayer) -> None:
    layer = make_layer(group_expiry=5000)
    assert layer.session_life("http.response.a!x") == 600
    assert layer.session_life(REPLY) == 5000
    assert make_layer(group_expiry=5).session_life("http.response.a!x") == 5


def test_a_closed_layer_keeps_nothing(unmanaged_layer: MakeLayer) -> None:
    layer = unmanaged_layer()
    layer.close()
    for call in (layer.session_load, layer.session_drop, lambda name: layer.session_save(name, {})):
        with pytest.raises(LayerClosed):
            call(REPLY)
