"""The multichat over HTTP and its WebSocket, with two workers: what somebody without the right cookie, token or password gets."""

import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from examples.multichat.users import DEMO
from tests.servers import WATCHDOG, Server

ADA, GRACE = DEMO
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests here: each has browsers of its own, with cookies of their own."""
    folder = tmp_path_factory.mktemp("house")
    running = Server(folder, "--workers", "2", app="examples.multichat", env={"MULTICHAT_STATE": str(folder / "state")})
    try:
        running.wait_until_started()
        yield running
        running.stop()
    finally:
        running.discard()


@dataclass
class Browser:
    """Somebody with a cookie."""

    house: Server
    key: str = ""
    set_cookies: list[str] = field(default_factory=list)

    def request(self, method: str, path: str, body: str = "", kind: str = FORM) -> tuple[int, str]:
        """Status, and the body or where it leads to; cookies are kept."""
        connection = http.client.HTTPConnection("127.0.0.1", self.house.port, timeout=WATCHDOG)
        try:
            headers = {"Cookie": f"sessionid={self.key}"} if self.key else {}
            if method == "POST":
                headers["Content-Type"] = kind
            connection.request(method, path, body.encode(), headers)
            answer = connection.getresponse()
            for header in answer.headers.get_all("set-cookie", []):
                self.set_cookies.append(header)
                self.key = SimpleCookie(header)["sessionid"].value
            return answer.status, answer.headers["location"] or answer.read().decode()
        finally:
            connection.close()

    def token(self, path: str = "/login") -> str:
        status, page = self.request("GET", path)
        found = re.search(r'name="csrf" value="([^"]+)"', page)
        assert status == 200
        assert found is not None
        return found[1]

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        return self.request("POST", path, urlencode(fields))

    def log_in(self, user: tuple[str, str, bool] = ADA) -> "Browser":
        assert self.post("/login", csrf=self.token(), name=user[0], password=user[1]) == (303, "/")
        return self

    @property
    def is_in(self) -> bool:
        return self.request("GET", "/")[0] == 200

    def connect(self, **headers: str) -> ClientConnection:
        headers = {"Origin": self.house.url, "Cookie": f"sessionid={self.key}", **headers}
        return connect(f"ws://127.0.0.1:{self.house.port}/streams", additional_headers=headers, open_timeout=WATCHDOG)


def hear(client: ClientConnection) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(client.recv(timeout=WATCHDOG))["payload"]
    return payload


def say(client: ClientConnection, stream: str, **payload: str) -> None:
    client.send(json.dumps({"stream": stream, "payload": payload}))


def test_a_login_changes_the_session_key_and_the_cookie_is_for_http_only(house: Server) -> None:
    browser = Browser(house)
    assert browser.request("GET", "/") == (303, "/login")
    token = browser.token()
    before = browser.key
    assert browser.post("/login", csrf=token, name="ADA", password=ADA[1]) == (303, "/")
    assert browser.is_in
    assert browser.key not in ("", before)
    for cookie in browser.set_cookies:
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert not Browser(house, before).is_in, "who planted or saw the old key has nothing of it"
    assert browser.request("GET", "/login") == (303, "/")


def test_a_wrong_password_and_an_unknown_name_are_told_alike(house: Server) -> None:
    browser = Browser(house)
    answers = []
    for name in ("ada", "nobody"):
        status, page = browser.post("/login", csrf=browser.token(), name=name, password="<wrong>")
        assert status == 403
        assert "do not belong together" in page
        answers.append(page.replace(f'value="{name}"', ""))
    assert answers[0] == answers[1]
    assert not browser.is_in
    status, page = browser.post("/login", csrf=browser.token(), name='"><script>', password="x")
    assert "<script>" not in page


def test_forms_without_the_token_of_their_session_do_nothing(house: Server) -> None:
    browser, other = Browser(house), Browser(house)
    token, others = browser.token(), other.token()
    right = {"name": ADA[0], "password": ADA[1]}
    for fields in (right, {**right, "csrf": ""}, {**right, "csrf": others}, {**right, "csrf": "\u00e9"}):
        status, page = browser.post("/login", **fields)
        assert (status, "has expired" in page) == (403, True)
    assert Browser(house).post("/login", csrf=token, **right)[0] == 403, "no cookie at all"
    for body, kind in (("{}", "application/json"), ("a=1&" * 11, FORM), ("\u00e9", FORM), ("x" * 1_100_000, FORM)):
        assert browser.request("POST", "/login", body, kind)[0] == 403
    assert not browser.is_in
    browser.log_in()
    old = token
    for fields in ({}, {"csrf": old}):
        assert browser.post("/logout", **fields)[0] == 403
    assert browser.request("GET", "/logout")[0] == 405
    assert browser.is_in
    assert browser.post("/logout", csrf=browser.token("/")) == (303, "/login")
    assert not browser.is_in


def test_a_cookie_that_was_tampered_with_is_nobodys(house: Server) -> None:
    browser = Browser(house).log_in()
    key = browser.key
    for forged in (key[:-1], key + "A", key.swapcase(), "' or 1=1 --", "x" * 5000):
        assert not Browser(house, forged).is_in
        with Browser(house, forged).connect() as client:
            assert hear(client)["you"] is None
            say(client, "rooms", command="join", room="lobby")
            assert hear(client)["code"] == "not_logged_in"
    assert browser.is_in


def test_who_is_logged_in_talks_and_a_logout_ends_their_connections(house: Server) -> None:
    ada, grace = Browser(house).log_in(), Browser(house).log_in(GRACE)
    with ada.connect() as first, grace.connect() as second:
        assert hear(first)["you"] == {"name": "ada", "is_staff": True}
        assert hear(second)["you"] == {"name": "grace", "is_staff": False}
        say(first, "rooms", command="join", room="lobby")
        assert [hear(first)["event"], hear(first)["event"]] == ["joined", "came"]
        say(second, "rooms", command="join", room="lobby")
        assert [hear(second)["event"], hear(second)["event"]] == ["joined", "came"]
        assert hear(first)["event"] == "came"
        say(second, "rooms", command="join", room="office")
        assert hear(second)["code"] == "no_access"
        say(second, "talk", command="send", room="lobby", text=" hello ", ref="r-1")
        for client in (first, second):
            said = hear(client)
            assert (said["event"], said["name"], said["text"], said["ref"]) == ("said", "grace", "hello", "r-1")
        assert grace.post("/logout", csrf=grace.token("/")) == (303, "/login")
        with pytest.raises(ConnectionClosed) as end:
            hear(second)
        assert end.value.rcvd is not None
        assert (end.value.rcvd.code, end.value.rcvd.reason) == (4001, "logged out")
        assert hear(first)["event"] == "went"


def test_other_paths_other_pages_and_other_methods_are_refused(house: Server) -> None:
    browser = Browser(house).log_in()
    with pytest.raises(InvalidStatus) as refusal:
        browser.connect(Origin="http://evil.example")
    assert refusal.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as refusal:
        connect(f"ws://127.0.0.1:{house.port}/other", open_timeout=WATCHDOG)
    assert refusal.value.response.status_code == 403
    assert browser.request("GET", "/static/multichat.js")[0] == 200
    for path in ("/static/login.html", "/static/users.py", "/static/../users.py", "/nothing"):
        assert browser.request("GET", path)[0] in (400, 404)
    assert browser.request("PUT", "/")[0] == 405
