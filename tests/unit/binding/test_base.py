"""Bindings as classes: what must be written, which fields go out, what JSON says."""

import datetime
import decimal
import enum
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from shmchan.binding import Binding, backends
from shmchan.binding.values import BadValue, from_json, jsonable
from shmchan.binding.websockets import LONGEST, SINGLES, WebsocketBinding, WebsocketBindingWithMembers
from tests.unit.binding.models import Board, BoardBinding, Card, CardBinding


@pytest.fixture(autouse=True)
def own_bindings() -> Iterator[None]:
    before = backends.registered()
    yield
    for binding in backends.registered():
        if binding not in before:
            backends.forget(binding)


def make(base: type[Binding] = WebsocketBinding, **attributes: Any) -> type[Any]:
    return type("Made", (base,), {"model": Card, "stream": "s", **attributes})


def test_fields_or_exclude_is_required() -> None:
    with pytest.raises(ValueError, match="neither fields nor exclude"):
        make()
    with pytest.raises(ValueError, match="both"):
        make(fields=["text"], exclude=["place"])
    with pytest.raises(ValueError, match="a list of names"):
        make(fields="text")
    with pytest.raises(ValueError, match="no stream"):
        make(fields=["text"], stream=None)
    assert make(model=None).model is None, "a base of others needs none of them"


@pytest.mark.parametrize("everything", ["__all__", ["__all__"]])
def test_all_fields_are_those_without_the_key_and_what_is_excluded(everything: Any) -> None:
    assert make(fields=everything).field_names() == ("text", "admin_only", "place", "board_id")
    assert make(fields=everything, exclude=["place"]).field_names() == ("text", "admin_only", "board_id")
    assert make(exclude=["place", "text"]).field_names() == ("admin_only", "board_id")


@pytest.mark.parametrize("path", ["nothing", "board.nothing", "text.upper"])
def test_a_field_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(ValueError, match=path):
        make(fields=[path]).field_names()


def test_a_model_is_found_by_its_path() -> None:
    assert BoardBinding.resolved_model() is Board
    with pytest.raises(ImportError, match="nowhere"):
        backends.find_model("nowhere.Model")
    with pytest.raises(ImportError, match="no path"):
        backends.find_model("Model")
    with pytest.raises(TypeError, match="no model"):
        backends.backend_of(int)


def test_related_rows_go_out_as_fields_or_as_their_key() -> None:
    card = Card(id=1, text="t", board=Board(id=4, title="b"))
    binding = make(fields=["board", "board.title", "board.cards"])()
    assert binding.serialize_data(card) == {"board": 4, "board.title": "b", "board.cards": [1]}
    assert binding.serialize_data(Card(id=2))["board.title"] is None


def test_members_go_out_beside_fields() -> None:
    binding = make(
        WebsocketBindingWithMembers, fields=["text"], send_members=["shout", "id", "board.title", "board.title.upper"]
    )()
    card = Card(id=1, text="t", board=Board(id=4, title="b"))
    expected = {"text": "t", "shout": "T", "id": 1, "board__title": "b", "board__title__upper": "B"}
    assert binding.serialize_data(card) == expected


def test_groups_are_a_list_of_names_each_once() -> None:
    assert make(fields=["text"], group_names=lambda self, instance: iter(["a", "b", "a"]))().groups_of(None) == ("a", "b")
    with pytest.raises(TypeError, match="not the str 'abc'"):
        make(fields=["text"], group_names=lambda self, instance: "abc")().groups_of(None)
    with pytest.raises(NotImplementedError, match="group_names"):
        make(fields=["text"])().groups_of(None)


@pytest.mark.parametrize("name", ["serialize", "encode", "deserialize", "refuse"])
def test_a_binding_for_no_transport_says_what_it_lacks(name: str) -> None:
    with pytest.raises(NotImplementedError, match=name):
        getattr(Binding(), name)(*[None] * (1 if name in ("deserialize", "refuse") else 2))


def test_few_changes_come_one_by_one_and_many_in_parts_of_a_bounded_size() -> None:
    binding = CardBinding()
    few = [{"pk": number} for number in range(SINGLES)]
    assert binding.pack(few) == few
    for count, size in ((SINGLES + 1, 10), (3000, 1000), (40, LONGEST)):
        many = [{"pk": number, "data": "x" * size} for number in range(count)]
        parts = binding.pack(many)
        assert [change for part in parts for change in part["changes"]] == many
        assert [(part["part"], part["parts"]) for part in parts] == [(n, len(parts)) for n in range(1, len(parts) + 1)]
        longest = max(len(str(part["changes"])) for part in parts)
        assert longest <= LONGEST + 100 or all(len(part["changes"]) == 1 for part in parts)
    assert len(binding.pack([{"pk": number} for number in range(20)])) == 1


class Fruit(enum.Enum):
    APPLE = 1
    PEAR = "pear"
    BOTH = (1, 2)


ROUND_TRIPS = [
    (5, 5),
    ("ä", "ä"),
    (True, True),
    (1.5, 1.5),
    (Fruit.APPLE, 1),
    (Fruit.PEAR, "pear"),
    (Fruit.BOTH, "BOTH"),
    (decimal.Decimal("1.10"), "1.10"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (b"\0\xff", "AP8="),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.time(1, 2), "01:02:00"),
    (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
    (datetime.timedelta(seconds=1.5), 1.5),
    ([1, "a"], [1, "a"]),
]


@pytest.mark.parametrize(("value", "said"), ROUND_TRIPS, ids=str)
def test_values_are_said_in_json_and_understood_again(value: Any, said: Any) -> None:
    assert jsonable(value, "field") == said
    assert from_json(said, type(value)) == value


def test_what_json_cannot_say_is_none_or_an_error_that_names_the_field() -> None:
    assert jsonable(float("nan"), "f") is None
    assert jsonable({1: (2, None)}, "f") == {"1": [2, None]}
    with pytest.raises(TypeError, match="'field'"):
        jsonable({"a": object()}, "field")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, bool), (True, int), ("1", int), (1.0, int), (1 << 64, int), ("x", float), (10**400, float), (True, float), (1, str),
        ("x", decimal.Decimal), ("NaN", decimal.Decimal), (True, decimal.Decimal), (1, uuid.UUID), ("x", uuid.UUID), (1, bytes),
        ("2026-13-01", datetime.date), (1, datetime.datetime), ("x", datetime.time), (1e300, datetime.timedelta), ("x", list),
        (None, Fruit), ([1, 2], Fruit), (True, Fruit),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_value_of_a_type_is_refused(value: Any, kind: type) -> None:
    with pytest.raises(BadValue):
        from_json(value, kind)


def test_an_async_permission_is_no_permission() -> None:
    async def yes(self: Any, user: Any, action: str, pk: Any) -> bool:
        return True

    with pytest.raises(TypeError, match=r"Made\.has_permission is `async def`"):
        make(fields=["text"], has_permission=yes)
    hidden = make(fields=["text"], has_permission=lambda *given: yes(*given))
    with pytest.raises(TypeError, match="async def"):
        hidden().run_action("create", None, {"text": "x"})
