"""enforce_ordering: consumers run in the order of their messages, whatever order these come in."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from shmchan import Message, route
from shmchan.exceptions import ConsumeLater
from shmchan.layers import InMemoryChannelLayer
from shmchan.routing import Router
from shmchan.sessions import enforce_ordering
from shmchan.worker.consume import Handler

REPLY = "websocket.send.a!x"
CHANNELS = ["websocket.connect", "websocket.receive", "websocket.disconnect"]


def message(layer: InMemoryChannelLayer, order: int, channel: str = "websocket.receive") -> Message:
    return Message({"reply_channel": REPLY, "order": order}, channel, layer)


def work(layer: InMemoryChannelLayer, consumer: Callable[..., Any]) -> None:
    """What a worker does until there is nothing to do."""
    handler = Handler(layer, Router([route(CHANNELS, consumer, discard_on_error=True)]))
    while (lease := layer.lease(CHANNELS, 0.3)) is not None:
        assert handler.handle(lease) is None


@pytest.mark.parametrize("orders", list(itertools.permutations([1, 2, 3])))
def test_messages_injected_in_any_order_run_in_theirs(orders: tuple[int, ...]) -> None:
    ran: list[int] = []
    with InMemoryChannelLayer() as layer:
        for order in (0, *orders):
            layer.send("websocket.receive" if order else "websocket.connect", {"reply_channel": REPLY, "order": order})
        work(layer, enforce_ordering(lambda message: ran.append(message["order"])))
        assert layer.group_channels("other") == []
    assert ran == [0, 1, 2, 3]


def test_connect_need_not_be_decorated() -> None:
    ran: list[int] = []
    with InMemoryChannelLayer() as layer:
        for order in (3, 2, 1):
            layer.send("websocket.receive", {"reply_channel": REPLY, "order": order})
        work(layer, enforce_ordering(lambda message: ran.append(message["order"])))
    assert ran == [1, 2, 3]


def test_connections_do_not_wait_for_each_other() -> None:
    ran: list[tuple[str, int]] = []
    with InMemoryChannelLayer() as layer:
        for reply, order in (("r!a", 2), ("r!b", 1), ("r!b", 2)):
            layer.send("websocket.receive", {"reply_channel": reply, "order": order})
        work(layer, enforce_ordering(lambda message: ran.append((message["reply_channel"], message["order"]))))
    assert ran == [("r!b", 1), ("r!b", 2)]


def test_a_consumer_that_raises_does_not_hold_up_its_successors() -> None:
    ran: list[int] = []

    @enforce_ordering
    def consumer(message: Message) -> None:
        ran.append(message["order"])
        raise RuntimeError("on purpose")

    with InMemoryChannelLayer() as layer:
        for order in (2, 3, 1):
            layer.send("websocket.receive", {"reply_channel": REPLY, "order": order})
        work(layer, consumer)
    assert ran == [1, 2, 3]


def test_a_consumer_that_asks_for_later_is_not_overtaken() -> None:
    ran: list[int] = []

    @enforce_ordering
    def consumer(message: Message) -> None:
        ran.append(message["order"])
        if ran.count(1) == 1 and message["order"] == 1:
            raise ConsumeLater

    with InMemoryChannelLayer() as layer:
        for order in (2, 1):
            layer.send("websocket.receive", {"reply_channel": REPLY, "order": order})
        work(layer, consumer)
    assert ran == [1, 1, 2]


def test_a_disconnect_takes_what_was_remembered_with_it() -> None:
    with InMemoryChannelLayer() as layer:
        ordered: Any = enforce_ordering(lambda message: None)
        ordered(message(layer, 0, "websocket.connect"))
        assert len(layer._groups) == 1
        ordered(message(layer, 1, "websocket.disconnect"))
        assert len(layer._groups) == 0


def test_a_late_message_runs_and_changes_nothing() -> None:
    ran: list[int] = []
    with InMemoryChannelLayer() as layer:
        ordered: Any = enforce_ordering(lambda message: ran.append(message["order"]))
        for order in (1, 2, 1, 3):
            ordered(message(layer, order))
    assert ran == [1, 2, 1, 3]


def test_the_consumers_arguments_and_result_pass_through() -> None:
    with InMemoryChannelLayer() as layer:
        ordered: Any = enforce_ordering()(lambda message, room: room)
        assert ordered(message(layer, 1), room="blue") == "blue"


@pytest.mark.parametrize("content", [{"reply_channel": REPLY}, {"reply_channel": REPLY, "order": "1"}, {"order": 1}])
def test_a_message_without_an_order_or_a_connection_is_a_value_error(content: dict[str, Any]) -> None:
    ordered: Any = enforce_ordering(lambda message: None)
    with InMemoryChannelLayer() as layer, pytest.raises(ValueError, match="@enforce_ordering needs"):
        ordered(Message(content, "websocket.receive", layer))


def test_slight_is_no_mode_any_more() -> None:
    slight: Any = True
    with pytest.raises(ValueError, match="slight"):
        enforce_ordering(slight=slight)
