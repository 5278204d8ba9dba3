"""
Bindings, sessions and users of a Django project, on a layer in shared memory.

Django's test runner runs it: ``django-admin test desk``; for the project's own `tests/system/test_django.py` does.
"""

import json
import logging
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test import Client as DjangoClient
from django.test import TestCase, TransactionTestCase, override_settings

from shmchan import Group, Message, route
from shmchan.auth import channel_session_user_from_http, http_session_user
from shmchan.binding import backends
from shmchan.binding.websockets import WebsocketBinding
from shmchan.contrib.django import conf, login, watching
from shmchan.contrib.django.apps import _check_order
from shmchan.contrib.django.sessions import DjangoEngine
from shmchan.security import websockets
from shmchan.sessions.store import SessionGone, SessionStore, settings
from shmchan.testing import Client, WSClient, apply_routes, own_layer

from .bindings import ItemBinding, TeamBinding
from .models import Item, Locked, Special, Tag, Team

QUEUE = "desk.test!"
Told = tuple[str, str, Any]


class Listening:
    """A layer with a listener in each group."""

    def setUp(self) -> None:
        context = own_layer()
        self.layer = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)  # type: ignore[attr-defined]
        for group in ("staff", "guests", "teams"):
            Group(group).add(QUEUE + group)

    def payloads(self, group: str | None = None) -> list[Any]:
        """What the listeners of a group, or of all, got since they were asked last."""
        found = []
        while (received := self.layer.receive([QUEUE]))[1] is not None:
            if group in (None, str(received[0]).removeprefix(QUEUE)):
                found.append(json.loads(received[1]["text"])["payload"])
        return found

    def heard(self, group: str = "staff") -> list[tuple[str, str]]:
        """``(action, name)`` of each."""
        return [(told["action"], told["data"]["name"]) for told in self.payloads(group)]


class Signals(Listening, TransactionTestCase):  # type: ignore[misc]  # Django has no types
    def test_a_row_is_created_updated_hidden_and_deleted(self) -> None:
        item = Item.objects.create(name="a")
        assert [told["action"] for told in self.payloads()] == ["create", "create"]
        item.name = "b"
        item.save()
        assert self.heard("guests") == [("update", "b")]
        item.hidden, item.name = True, "secret"
        item.save()
        told = [(it["action"], it["data"]["name"], it["pk"]) for it in self.payloads()]
        assert told == [("delete", "b", str(item.pk)), ("update", "secret", str(item.pk))]
        item.delete()
        assert self.heard("staff") == [("delete", "secret")]

    def test_what_is_rolled_back_is_not_told(self) -> None:
        with suppress(RuntimeError), transaction.atomic():
            Item.objects.create(name="a")
            raise RuntimeError
        with transaction.atomic():
            assert self.payloads() == []
        assert self.payloads() == []

    def test_a_savepoint_that_is_rolled_back_drops_its_own_changes_only(self) -> None:
        first, second = Item.objects.create(name="first"), Item.objects.create(name="second")
        third = Item.objects.create(name="third")
        self.payloads()
        with transaction.atomic():
            first.save()
            with transaction.atomic():
                second.save()
                with suppress(RuntimeError), transaction.atomic():
                    first.hidden = True
                    first.save()
                    third.save()
                    Item.objects.create(name="dropped")
                    raise RuntimeError
            assert self.payloads() == []
            with suppress(RuntimeError), transaction.atomic():
                third.delete()
                raise RuntimeError
        assert self.heard("guests") == [("update", "first"), ("update", "second")]

    def test_a_row_is_told_of_once_and_deletes_go_before_updates_and_creates(self) -> None:
        gone, kept = Item.objects.create(name="gone"), Item.objects.create(name="kept")
        self.payloads()
        with transaction.atomic():
            new = Item.objects.create(name="new")
            for name in ("x", "y"):
                kept.name = new.name = name
                kept.save()
                new.save()
            gone.delete()
            Item.objects.create(name="passing").delete()
        assert self.heard("guests") == [("delete", "gone"), ("update", "y"), ("create", "y")]

    def test_a_second_transaction_is_another_one(self) -> None:
        item = Item.objects.create(name="a")
        for hidden in (True, False):
            with transaction.atomic():
                item.hidden = hidden
                item.save()
        assert [it["action"] for it in self.payloads("guests")] == ["create", "delete", "create"]

    def test_rows_that_go_with_another_are_told_of(self) -> None:
        team = Team.objects.create(name="t")
        Item.objects.create(name="a", team=team)
        self.payloads()
        team.delete()
        assert [(it["action"], it["model"]) for it in self.payloads("guests")] == [("delete", "desk.item")]

    def test_a_model_that_inherits_is_seen_as_what_it_inherits_from(self) -> None:
        Special.objects.create(name="s", extra=5)
        (told,) = self.payloads("guests")
        assert (told["action"], told["data"]["name"], "extra" in told["data"]) == ("create", "s", False)

    def test_statements_that_send_no_signals_are_heard_of_within_watching(self) -> None:
        Item.objects.bulk_create([Item(name="a"), Item(name="b")])
        assert self.payloads() == [], "nobody says anything"
        with watching(Item.objects.filter(name__in="abcd")):
            Item.objects.filter(name="a").update(hidden=True)
            Item.objects.bulk_create([Item(name="c")])
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM desk_item WHERE name = 'b'")
        assert self.heard("guests") == [("delete", "a"), ("delete", "b"), ("create", "c")]

    def test_many_rows_come_in_batches(self) -> None:
        with transaction.atomic():
            items = [Item.objects.create(name=str(number)) for number in range(600)]
        batches = self.payloads("guests")
        assert {batch["action"] for batch in batches} == {"batch"}
        assert [it["pk"] for batch in batches for it in batch["changes"]] == [str(item.pk) for item in items]

    def test_a_binding_that_fails_before_the_change_is_an_error_and_after_the_commit_it_is_logged(self) -> None:
        item = Item.objects.create(name="a")
        item.name = "broken"
        with self.assertLogs("shmchan.worker", logging.ERROR) as logs:
            item.save()
        assert "a binding that fails" in logs.output[0]
        with self.assertRaisesMessage(RuntimeError, "a binding that fails"):
            item.save()

    def test_a_process_may_change_rows_while_nothing_runs(self) -> None:
        from shmchan.asgi import channel_layers

        before = channel_layers.set("default", None)
        try:
            with self.assertLogs("shmchan.worker", logging.WARNING) as logs:
                Item.objects.create(name="a")
        finally:
            channel_layers.set("default", before)
        assert "no shmchan instance named 'desk' is running" in logs.output[0]


class Undo(Exception):
    """Rolls a savepoint or a transaction back."""


class Replay(Listening, TransactionTestCase):  # type: ignore[misc]
    """Random changes in nested transactions; who replays what is told sees the rows that are there."""

    def change(self, random: Random, depth: int) -> None:
        """Do something, perhaps several things within a savepoint of their own, which may be rolled back."""
        step = random.random()
        if step < 0.3 and depth < 4:
            with suppress(Undo), transaction.atomic():
                for _ in range(random.randrange(1, 6)):
                    self.change(random, depth + 1)
                if random.random() < 0.4:
                    raise Undo
            return
        there = list(Item.objects.order_by("pk")) if step > 0.45 else []
        item = random.choice(there) if there else None
        if item is None:
            key = uuid.UUID(int=random.getrandbits(128))
            Item.objects.create(pk=key, name=str(random.randrange(100)), hidden=random.random() < 0.4)
        elif step > 0.9:
            with watching(Item.objects.all()):
                Item.objects.update(hidden=random.random() < 0.5)
        elif step > 0.75:
            item.delete()
        else:
            item.name, item.hidden = str(random.randrange(100)), random.random() < 0.4
            item.save()

    def test_who_replays_what_is_told_sees_what_is_there(self) -> None:
        random = Random(7)
        seen: dict[str, dict[str, str]] = {"staff": {}, "guests": {}}
        actions = set()
        for _ in range(150):
            self.change(random, 0)
            while (received := self.layer.receive([QUEUE]))[1] is not None:
                rows = seen[str(received[0]).removeprefix(QUEUE)]
                told = json.loads(received[1]["text"])["payload"]
                for change in told.get("changes", [told]):
                    assert (change["pk"] in rows) == (change["action"] != "create")
                    actions.add(change["action"])
                    rows[change["pk"]] = change["data"]["name"]
                    if change["action"] == "delete":
                        del rows[change["pk"]]
            there = list(Item.objects.all())
            assert seen["staff"] == {str(item.pk): item.name for item in there}
            assert seen["guests"] == {str(item.pk): item.name for item in there if not item.hidden}
        assert actions == {"create", "update", "delete"}


class InTestCase(Listening, TestCase):  # type: ignore[misc]
    def test_commits_within_a_test_case_are_heard_of_when_they_are_asked_for(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            Item.objects.create(name="a")
            assert self.payloads() == []
        assert self.heard("guests") == [("create", "a")]


class Inbound(Listening, TransactionTestCase):  # type: ignore[misc]
    def ask(self, binding: type[WebsocketBinding], path: str = "/", **payload: Any) -> Any:
        """What a client is told of a change that it asked for; None: nothing."""
        with apply_routes([route("websocket.receive", binding.consumer)]):
            client = WSClient()
            client.send_and_consume("websocket.receive", text=payload, path=path)
            answer = client.receive()
            return None if answer is None else answer["payload"]

    def test_a_client_creates_updates_and_deletes(self) -> None:
        team = Team.objects.create(name="t")
        due = "2026-01-02T03:04:05+01:00"
        data = {"name": "a", "price": "1.50", "due": due, "kind": "large", "team": team.pk, "notes": {"x": [1]}}
        assert self.ask(ItemBinding, action="create", data=data) is None
        item = Item.objects.get()
        assert (item.team, str(item.price), item.notes) == (team, "1.50", {"x": [1]})
        assert item.due == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
        told = self.payloads("guests")[-1]["data"]
        expected = {**data, "due": "2026-01-02T02:04:05+00:00", "hidden": False, "picture": ""}
        assert told == expected
        assert self.ask(ItemBinding, action="update", pk=str(item.pk), data={"team": None, "due": "2026-01-02"}) is None
        item.refresh_from_db()
        assert (item.team, item.due) == (None, datetime(2026, 1, 2, tzinfo=UTC))
        assert self.ask(ItemBinding, action="delete", pk=str(item.pk)) is None
        assert not Item.objects.exists()

    def test_what_is_wrong_is_refused_and_nothing_is_stored(self) -> None:
        item, team = Item.objects.create(name="a"), Team.objects.create(name="t")
        Locked.objects.create(team=team)
        self.payloads()
        key = str(item.pk)
        create = {"action": "create"}
        update = {"action": "update", "pk": key}
        not_accepted = "the values are not accepted"
        for asked, reason, errors in (
            ({"action": "explode"}, "there is no action 'explode'; it is create, update or delete", None),
            ({**create, "data": {}}, not_accepted, {"name": "is required"}),
            ({**create, "data": {"name": ""}}, not_accepted, {"name": "This field cannot be blank."}),
            ({**create, "data": {"name": "wrong"}}, not_accepted, {"name": "is a name that nothing has"}),
            ({**create, "data": {"name": "bad"}}, "this is bad as a whole", {}),
            ({**update, "data": {"name": "x" * 11}}, not_accepted, None),
            ({**update, "data": {"name": 5}}, not_accepted, {"name": "is a text"}),
            ({**update, "data": {"hidden": "yes"}}, not_accepted, {"hidden": "is true or false"}),
            ({**update, "data": {"hidden": None}}, not_accepted, {"hidden": "is never empty"}),
            ({**update, "data": {"due": "soon"}}, not_accepted, {"due": "is a date and time in ISO 8601"}),
            ({**update, "data": {"price": 1e9}}, not_accepted, None),
            ({**update, "data": {"kind": "huge"}}, not_accepted, {"kind": "Value 'huge' is not a valid choice."}),
            ({**update, "data": {"team": 99}}, not_accepted, None),
            ({**update, "data": {"team": "t"}}, not_accepted, {"team": "is a whole number"}),
            ({**update, "data": {"tags": [1], "id": key, "nothing": 1}}, not_accepted, None),
            ({"action": "update", "pk": 5, "data": {}}, "pk is a UUID", {}),
            ({"action": "update", "data": {}}, "pk is the key of a row", {}),
            ({"action": "update", "pk": str(uuid.uuid4()), "data": {}}, "there is no such row (any more)", {}),
            ({"action": "delete", "pk": str(uuid.uuid4())}, "there is no such row (any more)", {}),
        ):
            with self.subTest(asked):
                told = self.ask(ItemBinding, ref="r", **asked)
                assert (told["action"], told["reason"], told["ref"]) == ("refused", reason, "r")
                if errors is None:
                    assert told["errors"] or reason != not_accepted
                else:
                    self.assertEqual(told["errors"], errors)  # noqa: PT009 - it shows both
        assert self.ask(ItemBinding, "/guest", action="delete", pk=key)["reason"] == "you may not delete this"
        rules = "the database does not accept this: it breaks one of its rules"
        assert self.ask(TeamBinding, action="delete", pk=team.pk)["reason"] == rules
        assert "already exists" in self.ask(TeamBinding, action="create", data={"name": "t"})["errors"]["name"]
        assert list(Item.objects.values_list("name", "hidden")) == [("a", False)]
        assert self.payloads() == []

    def test_fields_are_named_or_excluded_and_followed(self) -> None:
        team = Team.objects.create(name="t")
        item = Item.objects.create(name="a", team=team)
        item.tags.add(Tag.objects.create(name="one"))
        binding = type(
            "B", (WebsocketBinding,), {"model": Item, "stream": "b", "fields": ["tags", "team.name", "team.items", "loud"]}
        )
        backends.forget(binding)
        data = binding().serialize_data(item)
        assert data == {"tags": [1], "team.name": "t", "team.items": [str(item.pk)], "loud": "A"}
        item.team = None
        assert binding().serialize_data(item)["team.name"] is None
        for wrong in ("nothing", "name.first", "team.nothing"):
            other: Any = type("C", (WebsocketBinding,), {"model": Item, "stream": "c", "fields": [wrong]})
            backends.forget(other)
            with self.assertRaisesMessage(ValueError, wrong):
                other.field_names()

    def test_permissions_are_asked_of_the_user(self) -> None:
        user = get_user_model().objects.create_user("u")
        with apply_routes([route("websocket.connect", enter), route("websocket.receive", TeamBinding.consumer)]):
            client = WSClient()
            settings.engine = DjangoEngine()
            session = SessionStore()
            login(session, user)
            session.save()
            client.set_cookie("desk-session", str(session.session_key))
            client.send_and_consume("websocket.connect")
            client.send_and_consume("websocket.receive", text={"action": "create", "data": {"name": "x"}})
            assert client.receive()["payload"]["reason"] == "you may not create this"


@channel_session_user_from_http
def enter(message: Message) -> None:
    message.reply_channel.send({"accept": True})


class Sessions(TransactionTestCase):  # type: ignore[misc]
    def setUp(self) -> None:
        self.engine = DjangoEngine()
        self.user = get_user_model().objects.create_user("ada", password="one")

    def session_of_django(self) -> str:
        client = DjangoClient()
        assert client.login(username="ada", password="one")
        key: str = client.session.session_key
        return key

    def user_of(self, key: str) -> Any:
        """Who a consumer takes the browser with this cookie for."""
        found: list[Any] = []

        @http_session_user
        def consumer(message: Message) -> None:
            found.append(message.user)

        with own_layer():
            settings.engine = self.engine
            consumer(Message({"headers": [[b"cookie", b"desk-session=" + key.encode()]]}, "http.request"))
        return found[0]

    def test_a_key_that_no_engine_makes_is_unknown(self) -> None:
        for key in ("", "\0" * 32, "\xfc" * 32, "../../../../etc/passwd"):
            assert self.engine.load(key) is None

    def test_old_connections_are_looked_for_before_and_after_each_consumer(self) -> None:
        def consumer(message: Message) -> None:
            assert closing.call_count == 1
            assert get_user_model().objects.count() == 1

        with mock.patch.object(connection, "close_if_unusable_or_obsolete") as closing:
            with apply_routes([route("work", consumer)]):
                Client().send_and_consume("work")
            assert closing.call_count == 2

    def test_a_login_of_django_is_one_of_consumers_and_the_other_way_round(self) -> None:
        key = self.session_of_django()
        assert self.user_of(key) == self.user
        session = SessionStore(engine=self.engine)
        login(session, self.user)
        client = DjangoClient()
        client.cookies["desk-session"] = session.session_key
        assert client.session["_auth_user_id"] == str(self.user.pk)
        assert self.user_of(str(session.session_key)) == self.user

    def test_who_is_nobody_is_djangos_anonymous_user(self) -> None:
        for key in ("", "unknown-key-0123456789", SessionStore.create(self.engine).session_key or ""):
            user = self.user_of(key)
            assert isinstance(user, AnonymousUser)
            assert not user.has_perm("desk.change_item")

    def test_a_new_password_or_an_inactive_user_ends_a_login(self) -> None:
        key = self.session_of_django()
        self.user.set_password("two")
        self.user.save()
        assert self.user_of(key).is_anonymous
        self.user.set_password("one")
        self.user.save()
        key = self.session_of_django()
        self.user.is_active = False
        self.user.save()
        assert self.user_of(key).is_anonymous

    def test_changes_are_saved_where_django_finds_them(self) -> None:
        client = DjangoClient()
        session = client.session
        session["theme"] = "dark"
        session.save()
        ours = SessionStore(session.session_key, self.engine)
        assert dict(ours) == {"theme": "dark"}
        ours["theme"] = "light"
        ours.save()
        client.cookies["desk-session"] = session.session_key
        assert client.session["theme"] == "light"
        ours.delete()
        with pytest.raises(SessionGone):
            SessionStore(engine=self.engine).engine.save(session.session_key, {})

    def test_keys_of_other_engines_work_too(self) -> None:
        with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
            engine = DjangoEngine()
            session = SessionStore.create(engine)
            session["a"] = 1
            session.save()
            assert dict(SessionStore(session.session_key, engine)) == {"a": 1}
            assert engine.load("forged") is None

    def test_several_backends_need_a_choice_at_a_login(self) -> None:
        two = ["django.contrib.auth.backends.ModelBackend", "django.contrib.auth.backends.AllowAllUsersModelBackend"]
        with override_settings(AUTHENTICATION_BACKENDS=two):
            with self.assertRaisesMessage(ValueError, "several"):
                login(SessionStore(engine=self.engine), self.user)
            session = SessionStore(engine=self.engine)
            login(session, self.user, two[1])
            assert self.user_of(str(session.session_key)) == self.user


class Configuration(TestCase):  # type: ignore[misc]
    def test_the_setting_is_checked(self) -> None:
        assert conf.options().name == "desk"
        for wrong, text in (
            ("x", "is a dict"),
            ({"Name": "x"}, "'Name'"),
            ({"WORKERS": "2"}, "of type int"),
            ({"WORKERS": True}, "of type int"),
        ):
            with override_settings(SHMCHAN=wrong), self.assertRaisesMessage(ImproperlyConfigured, text):
                conf.options()

    def test_pages_of_allowed_hosts_may_open_websockets(self) -> None:
        assert websockets._allowed_hosts == ("example.org", ".example.com")
        with override_settings(ALLOWED_HOSTS=[], DEBUG=True):
            assert conf.allowed_hosts() == (".localhost", "127.0.0.1", "[::1]")

    def test_the_prefix_of_a_proxy_is_the_root_path(self) -> None:
        assert conf.root_path() == ""
        with override_settings(FORCE_SCRIPT_NAME="/desk/"):
            assert conf.root_path() == "/desk"

    def test_an_order_of_apps_that_hides_runserver_is_found(self) -> None:
        assert checks.run_checks() == []
        order = [SimpleNamespace(name=name) for name in ("django.contrib.staticfiles", "shmchan.contrib.django")]
        with mock.patch.object(apps, "get_app_configs", return_value=order):
            (found,) = _check_order(None)
        assert found.id == "shmchan.W001"

    def test_a_routing_that_is_not_there_is_named(self) -> None:
        from shmchan.contrib.django.routing import make_routing

        with (
            override_settings(SHMCHAN={"ROUTING": "desk.nowhere"}),
            self.assertRaisesMessage(ImproperlyConfigured, "desk.nowhere"),
        ):
            make_routing(static=False)
