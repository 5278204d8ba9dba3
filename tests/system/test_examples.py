"""The examples, as `shmchan run` serves them with two workers that share no memory."""

import http.client
import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.servers import WATCHDOG, Server, StartServer


@pytest.fixture
def echo(server: StartServer) -> Server:
    return server("--workers", "2", app="examples.echo")


@pytest.fixture
def chat(server: StartServer) -> Server:
    return server("--workers", "2", app="examples.chat")


def websocket(server: Server, path: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=WATCHDOG, close_timeout=WATCHDOG)


def request(server: Server, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WATCHDOG)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def next_frame(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of the chat of this type; others are passed over."""
    while True:
        frame: dict[str, Any] = json.loads(client.recv(timeout=WATCHDOG))
        if frame["type"] == kind:
            return frame


# --- echo


def test_echo_sends_text_and_bytes_back_in_order(echo: Server) -> None:
    frames: list[str | bytes] = ["Grüße", b"\x00\xff", "", b"", *(str(number) for number in range(200))]
    with websocket(echo, "/anywhere") as client:
        for frame in frames:
            client.send(frame)
        assert [client.recv(timeout=WATCHDOG) for _ in frames] == frames


def test_echo_rejects_and_greets(echo: Server) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        websocket(echo, "/deny")
    assert refusal.value.response.status_code == 403
    assert request(echo, "GET", "/")[::2] == (200, b"Hello, world!")


def test_a_room_of_the_echo_hears_what_one_says_and_no_other_room_does(echo: Server) -> None:
    with websocket(echo, "/room/red") as one, websocket(echo, "/room/red") as two, websocket(echo, "/room/blue") as elsewhere:
        one.send("to red")
        assert one.recv(timeout=WATCHDOG) == two.recv(timeout=WATCHDOG) == "to red"
        elsewhere.send(b"to blue")
        assert elsewhere.recv(timeout=WATCHDOG) == b"to blue"


# --- chat


def test_the_chat_serves_its_page_and_nothing_else(chat: Server) -> None:
    status, headers, page = request(chat, "GET", "/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert b"<!DOCTYPE html>" in page
    for path in ("/chat.css", "/chat.js", "/link.js", "/roster.js", "/icon.svg"):
        assert request(chat, "GET", path)[0] == 200
    assert request(chat, "GET", "/../frames.py")[0] in (400, 404)
    assert request(chat, "GET", "/%2e%2e/frames.py")[0] == 404
    status, headers, _ = request(chat, "POST", "/")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_those_in_a_room_of_the_chat_hear_of_each_other(chat: Server) -> None:
    with websocket(chat, "/chat/lobby/@Ada") as ada:
        ada_id = next_frame(ada, "welcome")["id"]
        with websocket(chat, "/chat/lobby/@Gr%C3%A5ce%20%2F%20H.") as grace:
            grace_id = next_frame(grace, "welcome")["id"]
            came = next_frame(ada, "joined")
            while came["id"] != grace_id:  # the first is Ada's own
                came = next_frame(ada, "joined")
            assert came["name"] == "Gråce / H."
            ada.send(json.dumps({"type": "here", "to": grace_id}))
            assert next_frame(grace, "here") == {"type": "here", "id": ada_id, "name": "Ada"}
            grace.send(json.dumps({"type": "line", "text": " <b>Hello</b>\x07 ", "ref": "r-1"}))
            line = next_frame(ada, "line")
            assert (line["id"], line["text"], line["ref"]) == (grace_id, "<b>Hello</b>", "r-1")
        assert next_frame(ada, "left")["id"] == grace_id


def test_the_chat_refuses_what_its_page_would_not_send(chat: Server) -> None:
    for path in ("/", "/chat/UPPER/@Ada", "/chat/lobby/@%20", f"/chat/lobby/@{'x' * 31}", "/chat/lobby/@a%00b"):
        with pytest.raises(InvalidStatus) as refusal:
            websocket(chat, path)
        assert refusal.value.response.status_code == 403
    for frame in ("no JSON", b"{}", "[]", "7", '{"type": "line", "text": 1, "ref": "r"}', '{"type": "other"}', "[" * 5000):
        with websocket(chat, "/chat/lobby/@Ada") as client:
            client.send(frame)
            with pytest.raises(ConnectionClosedError) as end:
                next_frame(client, "never")
            assert end.value.rcvd is not None
            assert end.value.rcvd.code == 1003
    with websocket(chat, "/chat/lobby/@Ada") as client:
        for text, reason in (("x" * 501, "501"), ("  ", "empty")):
            client.send(json.dumps({"type": "line", "text": text, "ref": "r"}))
            assert reason in next_frame(client, "refused")["reason"]
