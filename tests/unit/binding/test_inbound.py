"""What browsers ask bindings to change: done, or refused to that browser alone."""

import logging
from typing import Any, ClassVar

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from shmchan import route
from shmchan.binding import backends
from shmchan.binding.websockets import WebsocketBinding
from shmchan.generic.websockets import WebsocketDemultiplexer
from shmchan.layers.shm import ShmChannelLayer
from shmchan.testing import WSClient, apply_routes
from tests.unit.binding.models import BoardBinding, Card, CardBinding, Thing, ThingBinding, heard, make_session, payloads


class Streams(WebsocketDemultiplexer):
    consumers: ClassVar[Any] = {
        "cards": CardBinding.consumer,
        "boards": BoardBinding.consumer,
        "things": ThingBinding.consumer,
    }


def ask(stream: str, payload: Any, path: str = "/") -> Any:
    """Send a change as one of two clients; what that one is told. The other is told nothing."""
    with apply_routes([Streams.as_route()]):
        client, other = WSClient(), WSClient()
        for one in (client, other):
            one.send_and_consume("websocket.connect", path=path)
        client.send_and_consume("websocket.receive", text={"stream": stream, "payload": payload}, path=path)
        assert other.receive() is None
        return client.receive()


def refusal(stream: str, payload: Any, path: str = "/") -> dict[str, Any]:
    answer = ask(stream, payload, path)
    assert answer["stream"] == stream
    found: dict[str, Any] = answer["payload"]
    assert found["action"] == "refused"
    return found


def cards() -> list[tuple[int, str, int | None]]:
    with make_session() as session:
        return [(card.id, card.text, card.place) for card in session.scalars(select(Card).order_by(Card.id))]


def test_a_client_creates_updates_and_deletes(layer: ShmChannelLayer) -> None:
    assert ask("cards", {"action": "create", "data": {"text": "mine", "place": 3}}) is None
    assert cards() == [(1, "mine", 3)]
    assert ask("cards", {"action": "update", "pk": 1, "data": {"place": None}}) is None
    assert cards() == [(1, "mine", None)]
    assert [told[1:] for told in heard(layer) if told[0] == "others"] == [("create", 1), ("update", 1)]
    assert ask("cards", {"action": "delete", "pk": 1}) is None
    assert cards() == []
    assert heard(layer) == [("admins", "delete", 1), ("others", "delete", 1)]


@pytest.mark.parametrize(
    ("payload", "reason", "errors"),
    [
        ({"action": "explode"}, "no action 'explode'", {}),
        ({}, "no action None", {}),
        ({"action": "create", "data": {}}, "not accepted", {"text": "is required"}),
        ({"action": "create", "data": [1]}, "data is an object", {}),
        ({"action": "create", "pk": 5, "data": {"text": "x"}}, "leave pk out", {}),
        ({"action": "create", "data": {"text": "x", "id": 5}}, "not accepted", {"id": "is no field that can be set"}),
        ({"action": "create", "data": {"text": "x", "board.title": "y"}}, "not accepted",
            {"board.title": "is no field that can be set"}),
        ({"action": "create", "data": {"text": "x", "board_id": 1}}, "not accepted", {"board_id": "is no field that can be set"}),
        ({"action": "create", "data": {"text": "x" * 21}}, "not accepted", {"text": "is a text of at most 20 characters"}),
        ({"action": "create", "data": {"text": 7}}, "not accepted", {"text": "is a text"}),
        ({"action": "create", "data": {"text": None}}, "not accepted", {"text": "is never empty"}),
        ({"action": "update", "pk": 1, "data": {"text": "a\0b"}}, "not accepted", {"text": "is a text without NUL characters"}),
        ({"action": "update", "pk": 1, "data": {"text": "\ud800"}}, "not accepted", {"text": "is a text of whole characters"}),
        ({"action": "update", "pk": 1, "data": {"place": True}}, "not accepted", {"place": "is a whole number"}),
        ({"action": "update", "pk": 1, "data": {"place": 1 << 63}}, "not accepted", {"place": "is a number of at most 64 bits"}),
        ({"action": "update", "pk": 1, "data": {"place": 1.5, "admin_only": 1}}, "not accepted",
            {"place": "is a whole number", "admin_only": "is true or false"}),
        ({"action": "update", "pk": "1", "data": {"place": 1}}, "pk is a whole number", {}),
        ({"action": "update", "pk": [1], "data": {"place": 1}}, "pk is a whole number", {}),
        ({"action": "update", "data": {"place": 1}}, "pk is the key of a row", {}),
        ({"action": "update", "pk": 99, "data": {"place": 1}}, "no such row", {}),
        ({"action": "delete", "pk": 99}, "no such row", {}),
        ({"action": "delete", "pk": 13}, "you may not delete this", {}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_a_reason_and_nothing_is_stored(
    layer: ShmChannelLayer, payload: dict[str, Any], reason: str, errors: dict[str, str]
) -> None:
    with make_session.begin() as session:
        session.add_all([Card(id=1, text="one", place=0), Card(id=13, text="mine", place=0)])
    payloads(layer)
    told = refusal("cards", {**payload, "ref": "r1"})
    assert reason in told["reason"]
    assert told["errors"] == errors
    assert (told["refused"], told["pk"], told["ref"]) == (payload.get("action"), payload.get("pk"), "r1")
    assert cards() == [(1, "one", 0), (13, "mine", 0)]
    assert heard(layer) == []


def test_without_permission_everything_is_refused(layer: ShmChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    assert refusal("cards", {"action": "create", "data": {"text": "x"}}, "/guest")["reason"] == "you may not create this"
    assert cards() == []
    with caplog.at_level(logging.WARNING, "shmchan.worker"):
        assert refusal("boards", {"action": "delete", "pk": 1})["reason"] == "you may not delete this"
    assert "BoardBinding has no has_permission" in caplog.text


@pytest.mark.parametrize("text", ["no json", "[]", '{"action": "create", "data": {"place": NaN}}'])
def test_a_frame_that_asks_for_nothing_is_refused(layer: ShmChannelLayer, text: str) -> None:
    with apply_routes([route("websocket.receive", CardBinding.consumer)]):
        client = WSClient()
        client.send_and_consume("websocket.receive", {"bytes": b"x"})
        assert client.receive()["payload"]["action"] == "refused"
        client.send_and_consume("websocket.receive", text=text)
        assert client.receive()["payload"]["reason"].startswith("a change is a JSON object")


def test_a_change_that_is_nested_however_deep_is_refused(layer: ShmChannelLayer) -> None:
    with apply_routes([route("websocket.receive", CardBinding.consumer)]):
        client = WSClient()
        for depth in (10, *range(850, 1000), 200_000):  # Python 3.11 reads up to 900 and something of them
            for key in ("ref", "pk", "action"):
                client.send_and_consume("websocket.receive", text='{"%s": %s}' % (key, "[" * depth + "]" * depth))  # noqa: UP031
                assert '"action": "refused"' in client.receive(json=False)


def test_a_binding_is_a_consumer_of_its_own_too(layer: ShmChannelLayer) -> None:
    with apply_routes([route(f"websocket.{kind}", CardBinding.consumer) for kind in ("connect", "receive", "disconnect")]):
        client = WSClient()
        client.send_and_consume("websocket.connect")
        client.send_and_consume("websocket.receive", text={"action": "create", "data": {"text": "x"}})
        client.send_and_consume("websocket.disconnect")
        assert client.receive() is None
    assert cards() == [(1, "x", None)]


def test_a_binding_may_have_a_session_and_an_order(layer: ShmChannelLayer) -> None:
    class Counting(CardBinding):
        channel_session_user = False
        channel_session = True
        strict_ordering = True

        def has_permission(self, user: Any, action: str, pk: int | None) -> bool:
            assert self.user.is_anonymous
            session = self.message.channel_session
            session["asked"] = session.get("asked", 0) + 1
            return bool(session["asked"] > 1)

    try:
        with apply_routes([route(f"websocket.{kind}", Counting.consumer) for kind in ("connect", "receive")]):
            client = WSClient(ordered=True)
            client.send_and_consume("websocket.connect")
            for _ in range(2):
                client.send_and_consume("websocket.receive", text={"action": "create", "data": {"text": "x"}})
        assert client.receive()["payload"]["reason"] == "you may not create this"
        assert client.receive() is None
    finally:
        backends.forget(Counting)
    assert cards() == [(1, "x", None)]


def test_what_the_database_does_not_want_is_refused(layer: ShmChannelLayer) -> None:
    class Linked(WebsocketBinding):
        model = Thing
        stream = "linked"
        fields = ("key", "price", "notes")

        def group_names(self, instance: Thing) -> list[str]:
            return []

        def has_permission(self, user: Any, action: str, pk: Any) -> bool:
            return True

    key = "12345678-1234-5678-1234-567812345678"
    try:
        with apply_routes([route("websocket.receive", Linked.consumer)]):
            client = WSClient()
            for data in ({"key": key}, {"key": key}):
                client.send_and_consume("websocket.receive", text={"action": "create", "data": data})
            assert client.receive()["payload"]["reason"].startswith("the database does not accept this")
            assert client.receive() is None
    finally:
        backends.forget(Linked)


def test_a_server_that_fails_says_so_and_the_error_is_heard_of(layer: ShmChannelLayer) -> None:
    Card.metadata.drop_all(make_session.kw["bind"])
    with apply_routes([route("websocket.receive", CardBinding.consumer)]):
        client = WSClient()
        with pytest.raises(OperationalError):
            client.send_and_consume("websocket.receive", text={"action": "create", "data": {"text": "x"}})
        assert client.receive()["payload"]["reason"].startswith("the server failed")


def test_keys_and_values_of_every_type_go_out_and_come_back(layer: ShmChannelLayer) -> None:
    data = {
        "price": "12.50",
        "born": "2026-01-02T03:04:05+01:00",
        "day": "2026-01-02",
        "colour": "blue",
        "raw": "AAE=",
        "notes": {"a": [1, None, "x"]},
    }
    assert ask("things", {"action": "create", "data": data}) is None
    ((group, told),) = payloads(layer)
    assert (group, told["action"], told["model"]) == ("things", "create", "thing")
    assert told["data"] == {**data, "price": "12.5000000000", "born": "2026-01-02T02:04:05"}
    assert ask("things", {"action": "update", "pk": told["pk"], "data": {"colour": "red"}}) is None
    assert payloads(layer)[0][1]["pk"] == told["pk"]
    assert refusal("things", {"action": "update", "pk": "no uuid", "data": {}})["reason"] == "pk is a UUID"
    wrong = {"price": "x", "born": "then", "day": 5, "colour": "green", "raw": "?"}
    assert refusal("things", {"action": "update", "pk": told["pk"], "data": wrong})["errors"] == {
        "price": "is a number",
        "born": "is a date and time in ISO 8601",
        "day": "is a date in ISO 8601",
        "colour": "is one of red, blue",
        "raw": "is base64",
    }
