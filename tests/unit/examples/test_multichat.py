"""The multichat without a server: its users, and its streams by the testing kit. HTTP is in tests/system/test_multichat.py."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shmchan.auth import set_user_loader
from shmchan.examples.multichat import __main__, rooms, streams, users
from shmchan.layers import ShmChannelLayer
from shmchan.testing import WSClient, apply_routes

HERE = Path(rooms.__file__).parent


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTICHAT_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(users, "COST", {"n": 2, "r": 1, "p": 1})
    users.prepare()
    return tmp_path / "state"


@pytest.fixture
def clients(shmchan_layer: ShmChannelLayer) -> Iterator[tuple[WSClient, WSClient, WSClient]]:
    """ada, grace, and somebody who is not logged in; all are connected."""
    set_user_loader(users.load)
    with apply_routes(streams.Streams.as_route()):
        found = tuple(WSClient() for _ in range(3))
        for client, user_id in zip(found, (1, 2, None), strict=True):
            if user_id is not None:
                client.login(user_id)
            client.send_and_consume("websocket.connect", path="/streams")
            assert event(client)["event"] == "welcome"
        yield found  # type: ignore[misc]


def event(client: WSClient) -> Any:
    """The payload of the next frame; None if there is none."""
    frame = client.receive()
    return None if frame is None else frame["payload"]


def say(client: WSClient, stream: str, **payload: Any) -> None:
    client.send_and_consume("websocket.receive", text={"stream": stream, "payload": payload}, path="/streams")


def test_only_who_knows_the_password_is_that_user(state: Path) -> None:
    users.add("Mary", "pa ss", is_staff=False)
    found = users.authenticate("mary", "pa ss")
    assert found == users.User(3, "Mary", is_staff=False)
    assert users.load(3) == found
    assert [users.authenticate(*pair) for pair in (("Mary", "pass"), ("Mary", ""), ("nobody", "pa ss"), ("nobody", ""))] == [
        None
    ] * 4
    assert users.load(99) is None


def test_no_password_is_in_the_database_and_nobody_else_can_read_it(state: Path) -> None:
    path = state / "multichat.db"
    content = path.read_bytes()
    for name, password, _ in users.DEMO:
        assert password.encode() not in content
        assert users.authenticate(name, password) is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(HERE.rglob("*.db*"))


def test_the_demo_users_are_made_once(state: Path) -> None:
    with closing(sqlite3.connect(state / "multichat.db")) as connection, connection:
        connection.execute("delete from user where name = 'ada'")
    users.prepare()
    assert users.demo_users() == [users.DEMO[1]]


def test_a_user_is_made_from_a_shell() -> None:
    shell = CliRunner()
    assert shell.invoke(__main__.add, ["mary", "--staff"], input="engine\nengine\n").exit_code == 0
    assert users.authenticate("mary", "engine") == users.User(3, "mary", is_staff=True)
    again = shell.invoke(__main__.add, ["Mary"], input="engine\nengine\n")
    assert (again.exit_code, "there is a user 'Mary'" in again.output) == (1, True)


@pytest.mark.parametrize("name", ["", "  ", "x" * 31, "a\nb"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="printable name"):
        users.add(name, "password", is_staff=False)
    with pytest.raises(users.NameTaken, match="'ADA'"):
        users.add("ADA", "password", is_staff=False)


def test_who_comes_hears_who_is_there_and_they_hear_who_comes_and_goes(clients: tuple[WSClient, WSClient, WSClient]) -> None:
    ada, grace, _ = clients
    ids = [rooms.identity(client.reply_channel) for client in (ada, grace)]
    say(ada, "rooms", command="join", room="lobby")
    assert [event(ada)["event"], event(ada)["event"]] == ["joined", "came"]
    say(grace, "rooms", command="join", room="lobby")
    people = event(grace)["people"]
    assert sorted(people, key=lambda one: one["name"]) == [{"id": ids[0], "name": "ada"}, {"id": ids[1], "name": "grace"}]
    assert event(grace)["event"] == "came"
    assert event(ada) == {"event": "came", "room": "lobby", "id": ids[1], "name": "grace"}
    grace.send_and_consume("websocket.disconnect", path="/streams")
    assert event(ada) == {"event": "went", "room": "lobby", "id": ids[1], "name": "grace"}
    assert event(ada) is None


@pytest.mark.parametrize(
    ("who", "stream", "payload", "code"),
    [
        (2, "rooms", {"command": "join", "room": "lobby"}, "not_logged_in"),
        (2, "talk", {"command": "send", "room": "lobby", "text": "x", "ref": "r"}, "not_logged_in"),
        (1, "rooms", {"command": "join", "room": "cellar"}, "unknown_room"),
        (1, "rooms", {"command": "join", "room": ["lobby"]}, "unknown_room"),
        (1, "rooms", {"command": "join", "room": "office"}, "no_access"),
        (1, "talk", {"command": "send", "room": "office", "text": "x", "ref": "r"}, "no_access"),
        (1, "rooms", {"command": "leave", "room": "lobby"}, "not_joined"),
        (1, "talk", {"command": "send", "room": "lobby", "text": "x", "ref": "r"}, "not_joined"),
        (0, "talk", {"command": "send", "room": "lobby", "text": " \x07 ", "ref": "r"}, "bad_line"),
        (0, "talk", {"command": "send", "room": "lobby", "text": "x" * 501, "ref": "r"}, "bad_line"),
        (0, "talk", {"command": "send", "room": "lobby", "text": "x", "ref": "<b>"}, "bad_line"),
        (0, "talk", {"command": "join", "room": "lobby"}, "unknown_command"),
        (0, "rooms", {"command": None}, "unknown_command"),
        (0, "rooms", {}, "unknown_command"),
    ],
)
def test_an_error_is_told_to_whose_it_is_alone(
    clients: tuple[WSClient, WSClient, WSClient], who: int, stream: str, payload: dict[str, Any], code: str
) -> None:
    for room in ("lobby", "office"):
        say(clients[0], "rooms", command="join", room=room)
        assert [event(clients[0])["event"], event(clients[0])["event"]] == ["joined", "came"]
    say(clients[who], stream, **payload)
    error = event(clients[who])
    assert (error["event"], error["code"]) == ("error", code)
    assert error.get("ref") == payload.get("ref")
    assert [event(client) for client in clients] == [None, None, None]
