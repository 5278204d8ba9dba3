"""Commits of SQLAlchemy sessions, and who hears what of them."""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from shmchan import Group, Message, route
from shmchan.asgi import channel_layers
from shmchan.binding.sqlalchemy import UNSEEN, UnseenChange, attach
from shmchan.layers.shm import ShmChannelLayer
from shmchan.testing import Client, apply_routes
from tests.unit.binding.models import Base, Board, Card, CardBinding, Seat, Vehicle, Wagon, engine, heard, make_session, payloads

TABLE: Any = Card.__table__


def add(*cards: Card | Board) -> None:
    with make_session.begin() as session:
        session.add_all(cards)


def test_a_row_is_created_updated_and_deleted_for_those_who_see_it(layer: ShmChannelLayer) -> None:
    with make_session.begin() as session:
        session.add(Card(text="one"))
        assert heard(layer) == []
    assert payloads(layer) == [
        (group, {"action": "create", "pk": 1, "model": "card", "data": data})
        for data in [{"text": "one", "admin_only": False, "place": None, "board.title": None}]
        for group in ("admins", "others")
    ]
    with make_session.begin() as session:
        session.get_one(Card, 1).text = "two"
        session.flush()
        assert heard(layer) == []
    assert [(group, it["action"], it["data"]["text"]) for group, it in payloads(layer)] == [
        ("admins", "update", "two"),
        ("others", "update", "two"),
    ]
    with make_session.begin() as session:
        session.delete(session.get_one(Card, 1))
    assert heard(layer) == [("admins", "delete", 1), ("others", "delete", 1)]


def test_an_update_that_hides_a_row_is_a_delete_for_those_who_see_it_no_more(layer: ShmChannelLayer) -> None:
    add(Card(text="public"))
    heard(layer)
    with make_session.begin() as session:
        card = session.get_one(Card, 1)
        card.admin_only, card.text = True, "secret"
    told = payloads(layer)
    assert [(group, it["action"]) for group, it in told] == [("others", "delete"), ("admins", "update")]
    assert told[0][1]["data"]["text"] == "public", "what it is now is not theirs to know"
    with make_session.begin() as session:
        session.get_one(Card, 1).admin_only = False
    assert heard(layer) == [("admins", "update", 1), ("others", "create", 1)]


def test_what_is_rolled_back_is_not_sent(layer: ShmChannelLayer) -> None:
    with make_session() as session:
        session.add(Card(text="one"))
        session.flush()
        session.rollback()
        session.add(Card(text="two"))
        session.flush()
    with suppress(RuntimeError), make_session.begin() as session:
        session.add(Card(text="three"))
        session.flush()
        raise RuntimeError
    assert heard(layer) == []


def test_a_session_goes_on_after_a_flush_that_failed(layer: ShmChannelLayer) -> None:
    with make_session() as session:
        session.add(Card())
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        with pytest.raises(UnseenChange):
            session.execute(text("delete from card"))
        session.add(Card(text="one"))
        session.commit()
    assert heard(layer) == [("admins", "create", 1), ("others", "create", 1)]


def test_a_savepoint_that_is_rolled_back_drops_its_own_changes_only(layer: ShmChannelLayer) -> None:
    add(Card(id=1, text="a"), Card(id=2, text="b"), Card(id=3, text="c", admin_only=True))
    heard(layer)
    with make_session.begin() as session:
        session.get_one(Card, 1).text = "outer"
        with session.begin_nested():
            session.get_one(Card, 2).text = "kept"
            inner = session.begin_nested()
            session.get_one(Card, 1).admin_only = True
            session.get_one(Card, 3).text = "dropped"
            session.add(Card(id=4, text="dropped"))
            inner.rollback()
        assert heard(layer) == []
    told = payloads(layer)
    assert [(group, it["pk"], it["action"]) for group, it in told if group == "others"] == [
        ("others", 1, "update"),
        ("others", 2, "update"),
    ]
    assert {it["pk"] for _, it in told} == {1, 2}


def test_a_flush_that_fails_in_a_savepoint_leaves_the_rest(layer: ShmChannelLayer) -> None:
    with make_session.begin() as session:
        session.add(Card(text="kept"))
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add(Card())
    assert heard(layer) == [("admins", "create", 1), ("others", "create", 1)]


def test_changes_of_a_row_in_one_transaction_are_one_change(layer: ShmChannelLayer) -> None:
    add(Card(id=1, text="a"), Card(id=2, text="b"))
    heard(layer)
    with make_session.begin() as session:
        for word in ("x", "y", "z"):
            session.get_one(Card, 1).text = word
            session.flush()
        session.delete(session.get_one(Card, 2))
        session.flush()
        session.add(Card(id=2, text="again"))
        passing = Card(id=3, text="passing")
        session.add(passing)
        session.flush()
        session.delete(passing)
    told = [(it["pk"], it["action"], it["data"]["text"]) for group, it in payloads(layer) if group == "admins"]
    assert told == [(1, "update", "z"), (2, "update", "again")]


def test_all_deletes_go_first_then_updates_then_creates_each_in_order(layer: ShmChannelLayer) -> None:
    add(*(Card(id=number, text="t") for number in range(1, 6)))
    heard(layer)
    with make_session.begin() as session:
        session.add(Card(id=9, text="new"))
        session.flush()
        session.get_one(Card, 4).text = "u"
        session.flush()
        session.get_one(Card, 2).text = "u"
        session.delete(session.get_one(Card, 5))
    assert [told[1:] for told in heard(layer) if told[0] == "others"] == [
        ("delete", 5),
        ("update", 4),
        ("update", 2),
        ("create", 9),
    ]


def test_a_new_key_is_a_delete_and_a_create(layer: ShmChannelLayer) -> None:
    add(Card(id=1, text="a"))
    heard(layer)
    with make_session.begin() as session:
        session.get_one(Card, 1).id = 7
    assert [told[1:] for told in heard(layer) if told[0] == "others"] == [("delete", 1), ("create", 7)]


def test_a_key_that_the_database_writes_otherwise_is_the_same_key(layer: ShmChannelLayer) -> None:
    odd: Any = "5"
    with make_session() as session:
        card = Card(id=odd, text="a")
        session.add_all([card, Card(id=6, text="b")])
        session.commit()
        assert sorted(told[1:] for told in heard(layer) if told[0] == "others") == [("create", 5), ("create", 6)]
    with make_session.begin() as session:
        session.get_one(Card, odd).text = "c"
    assert [told[1:] for told in heard(layer) if told[0] == "others"] == [("update", 5)]


def test_inherited_tables_and_keys_of_several_columns(layer: ShmChannelLayer) -> None:
    with make_session.begin() as session:
        session.add(Seat(row="a", number=1, taken_by="x"))
        session.add(Wagon(id=1, name="w", wheels=8))
    told = {it["model"]: (it["action"], it["pk"], it["data"]) for group, it in payloads(layer) if group == "things"}
    assert told == {
        "seat": ("create", ["a", 1], {"taken_by": "x"}),
        "vehicle": ("create", 1, {"name": "w"}),
        "wagon": ("create", 1, {"wheels": 8}),
    }
    with make_session.begin() as session:
        session.execute(update(Seat).where(Seat.row == "a").values(taken_by="y"))
        session.get_one(Vehicle, 1).name = "z"
    assert [it["data"] for group, it in payloads(layer) if group == "things"] == [{"taken_by": "y"}, {"name": "z"}, {"wheels": 8}]
    with make_session() as session, pytest.raises(UnseenChange):
        session.execute(text("UPDATE wagon SET wheels = 3"))


def test_groups_come_from_the_rows_as_they_were_whatever_the_objects_say(layer: ShmChannelLayer) -> None:
    """The object was loaded long ago, and its row was changed by another session since."""
    add(Board(id=1, title="one"))
    stale = make_session()
    board = stale.get_one(Board, 1)
    stale.commit()
    board.title = "two"  # expired, so that the session does not know what was there
    with Session(engine) as other:
        assert other.get_one(Board, 1).title == "one"
    heard(layer)
    stale.commit()
    stale.close()
    assert heard(layer) == [("board-one", "delete", 1), ("board-two", "create", 1)]


def test_rows_that_go_or_change_with_another_are_heard_of(layer: ShmChannelLayer) -> None:
    add(Board(id=1, title="one", cards=[Card(id=1, text="a"), Card(id=2, text="b"), Card(id=3, text="c")]))
    heard(layer)
    with make_session.begin() as session:
        board = session.get_one(Board, 1)
        board.cards.pop(0)
    assert [told[1:] for told in heard(layer) if told[0] == "others"] == [("delete", 1)]
    with make_session.begin() as session:
        session.delete(session.get_one(Board, 1))
    assert [told[1:] for told in heard(layer) if told[0] == "others"] == [("delete", 2), ("delete", 3)]


def test_nothing_changed_is_nothing_sent(layer: ShmChannelLayer) -> None:
    add(Card(text="one"))
    heard(layer)
    with make_session.begin() as session:
        card = session.get_one(Card, 1)
        card.text = "one"
        session.scalars(select(Card)).all()
    assert heard(layer) == []


def test_update_and_delete_of_many_rows_by_a_statement_are_heard_of(layer: ShmChannelLayer) -> None:
    add(*(Card(id=number, text="t", place=number) for number in range(1, 5)))
    heard(layer)
    with make_session.begin() as session:
        session.get_one(Card, 1).place = 9  # not flushed yet, and decides what the statement finds
        session.execute(update(Card).where(Card.place > bindparam("least")).values(admin_only=True), {"least": 2})
    told = heard(layer)
    assert [it[1:] for it in told if it[0] == "others"] == [("delete", 1), ("delete", 3), ("delete", 4)]
    assert [it[1:] for it in told if it[0] == "admins"] == [("update", 1), ("update", 3), ("update", 4)]
    with make_session.begin() as session:
        session.execute(update(Card), [{"id": 2, "text": "x"}, {"id": 3, "text": "y"}])
        session.execute(delete(Card).where(Card.id == 4))
    assert [told[1:] for told in heard(layer) if told[0] == "admins"] == [("delete", 4), ("update", 2), ("update", 3)]


@pytest.mark.parametrize(
    "statement",
    [
        insert(Card),
        insert(TABLE).values(text="x"),
        update(TABLE).values(text="x"),
        delete(TABLE),
        text("update card set text = 'x'"),
        text(' DELETE FROM "card"'),
        text("insert or replace into main.card (text) values ('x')"),
    ],
    ids=str,
)
def test_a_statement_that_does_not_tell_its_rows_is_refused(layer: ShmChannelLayer, statement: Any) -> None:
    with make_session() as session:
        with pytest.raises(UnseenChange, match="'card'"):
            session.execute(statement)
        session.rollback()
        assert session.scalars(select(Card)).all() == []


def test_bulk_methods_are_refused_too(layer: ShmChannelLayer) -> None:
    with make_session() as session, pytest.raises(UnseenChange):
        session.bulk_save_objects([Card(text="x")])
    with make_session() as session, pytest.raises(UnseenChange):
        session.execute(insert(Card), [{"text": "a"}, {"text": "b"}])
    assert heard(layer) == []


def test_what_nobody_needs_to_hear_of_says_so(layer: ShmChannelLayer) -> None:
    with make_session.begin() as session:
        session.execute(insert(Card), [{"text": "a"}], execution_options={UNSEEN: True})
        session.execute(text("update card set place = 1"), execution_options={UNSEEN: True})
        session.execute(update(Card).values(place=2).execution_options(**{UNSEEN: True}))
    assert heard(layer) == []


def test_the_engine_of_an_attached_session_is_free_for_others(layer: ShmChannelLayer) -> None:
    with make_session.begin() as session:
        session.scalars(select(Card)).all()
    with engine.begin() as connection:
        connection.execute(text("insert into card (text, admin_only) values ('x', 0)"))
    with Session(engine) as other, other.begin():
        other.add(Card(text="y"))
    assert heard(layer) == []


def test_a_single_session_is_attached_in_the_middle_of_its_transaction(layer: ShmChannelLayer) -> None:
    with Session(engine) as session:
        session.add(Card(text="before"))
        session.flush()
        attach(session)
        session.add(Card(text="after"))
        session.commit()
        assert [told[1:] for told in heard(layer) if told[0] == "others"] == [("create", 2)]
        session.get_one(Card, 1).text = "x"
        session.commit()
    assert [told[1:] for told in heard(layer) if told[0] == "others"] == [("update", 1)]


def test_sessions_of_asyncio_are_heard_too(layer: ShmChannelLayer, tmp_path: Path) -> None:
    async def work(message: Message) -> None:
        other = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/async.db")
        async with other.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        maker = async_sessionmaker(other)
        attach(maker)
        attach(maker)
        async with maker.begin() as session:
            session.add(Card(text="one"))
        async with maker.begin() as session:
            (await session.get_one(Card, 1)).text = "two"
            await session.execute(update(Card).values(place=3))
        async with maker() as session:
            with pytest.raises(UnseenChange):
                await session.execute(insert(Card), [{"text": "x"}])
        async with AsyncSession(other) as session, session.begin():
            session.add(Card(text="nobody hears"))
        await other.dispose()

    with apply_routes([route("work", work)]):
        Client().send_and_consume("work")
    assert [told[1:] for told in heard(layer) if told[0] == "others"] == [("create", 1), ("update", 1)]


def test_a_binding_that_fails_keeps_the_transaction_from_committing(
    layer: ShmChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.binding import models

    monkeypatch.setattr(models.CardBinding, "group_names", lambda self, instance: ["no group!"])
    with pytest.raises(TypeError, match="no group!"):
        add(Card(text="x"))
    with make_session() as session:
        assert session.scalars(select(Card)).all() == []


def test_changes_in_a_consumer_go_out_with_what_else_it_sends(layer: ShmChannelLayer) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"text": "first"})
        add(Card(text="x"))
        before.extend(heard(layer))
        raise RuntimeError("after the commit")

    before: list[object] = []
    with apply_routes([route("work", consumer)]):
        client = Client()
        with pytest.raises(RuntimeError):
            client.send_and_consume("work")
        assert client.receive() == {"text": "first"}
    assert before == []
    assert heard(layer) == [("admins", "create", 1), ("others", "create", 1)]


def test_groups_may_keep_what_they_are_told_for_those_who_were_away(
    layer: ShmChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CardBinding, "history", 50)
    group = Group("others", history=50)
    start = group.since(None, 0)
    add(*(Card(id=number, text="t" * 20) for number in range(1, 2001)))
    with make_session.begin() as session:
        session.delete(session.get_one(Card, 7))
    missed = group.since(start.epoch, start.offset)
    assert not missed.gap
    told = [json.loads(message["text"])["payload"] for message in missed.messages]
    assert [change["pk"] for batch in told[:-1] for change in batch["changes"]] == list(range(1, 2001))
    assert (told[-1]["action"], told[-1]["pk"]) == ("delete", 7)


def test_a_process_may_change_rows_while_nothing_runs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("SHMCHAN_NAME", "nobody-runs-this")
    assert "default" not in channel_layers
    with caplog.at_level(logging.WARNING):
        add(Card(text="x"))
    assert "2 messages on changed rows are not sent" in caplog.text
    with make_session() as session:
        assert len(session.scalars(select(Card)).all()) == 1


def test_ten_thousand_changes_in_one_transaction_reach_a_full_queue_of_nobody(layer: ShmChannelLayer) -> None:
    rows = 500
    add(*(Card(id=number, text="t") for number in range(1, rows + 1)))
    payloads(layer)
    with make_session.begin() as session:
        for round_ in range(20):
            for card in session.scalars(select(Card).order_by(Card.id)):
                card.place = round_
            session.flush()
    told = payloads(layer)
    for listener in ("admins", "others"):
        batches = [it for group, it in told if group == listener]
        assert [it["action"] for it in batches] == ["batch"] * len(batches)
        assert [it["part"] for it in batches] == list(range(1, batches[0]["parts"] + 1))
        changes = [change for batch in batches for change in batch["changes"]]
        assert [change["pk"] for change in changes] == list(range(1, rows + 1))
        assert {(change["action"], change["data"]["place"]) for change in changes} == {("update", 19)}
    assert layer.global_statistics()["channel_full_count"] == 0
