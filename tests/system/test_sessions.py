"""Sessions, users and class-based consumers as a browser meets them: over two workers that share the segment."""

import http.client
import json
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from shmchan.layers import ShmChannelLayer
from tests.servers import WATCHDOG, Server, StartServer, wait_for

PAGES = """
import os
from shmchan import route
from shmchan.auth import login
from shmchan.generic.websockets import JsonWebsocketConsumer, WebsocketDemultiplexer
from shmchan.security.websockets import allowed_hosts_only
from shmchan.sessions import SessionStore, use_sessions

use_sessions(path=os.environ["NOTES"] + ".db")

def load_user(user_id):
    return "user " + str(user_id)

def enter(message):
    session = SessionStore.create()
    login(session, 7)
    cookie = b"sessionid=" + session.session_key.encode()
    message.reply_channel.send({"status": 200, "headers": [[b"set-cookie", cookie]], "content": b"in"})

class Count(JsonWebsocketConsumer):
    channel_session = True

    def connect(self, message, **kwargs):
        message.reply_channel.send({"accept": True, "headers": [[b"x-count", b"1"]]})

    def receive(self, content, multiplexer=None, **kwargs):
        session = self.message.channel_session
        session["n"] = session.get("n", 0) + 1
        multiplexer.send({"n": session["n"], "pid": os.getpid()})

class Who(JsonWebsocketConsumer):
    def connect(self, message, **kwargs):
        if message.user == "user 7":
            message.reply_channel.send({"accept": True, "headers": [[b"x-who", b"7"]]})
        else:
            self.close()

    def receive(self, content, multiplexer=None, **kwargs):
        multiplexer.send({"user": self.message.user})

class Streams(WebsocketDemultiplexer):
    http_user = True
    consumers = {"count": Count, "who": Who}

def strict(message):
    message.reply_channel.send({"accept": True})

routing = [
    route("http.request", enter, path="^/enter$"),
    Streams.as_route(path="^/streams$"),
    route("websocket.connect", allowed_hosts_only(strict), path="^/strict$"),
]
"""


@pytest.fixture
def running(server: StartServer, tmp_path: Path) -> Server:
    (tmp_path / "pages.py").write_text(PAGES)
    return server("--workers", "2", "--user-loader", "pages:load_user", "--allowed-hosts", "app.org", app="pages")


def open_socket(running: Server, path: str, **headers: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{running.port}{path}", additional_headers=headers, open_timeout=WATCHDOG)


def refused(running: Server, path: str, **headers: str) -> int:
    """The status of a handshake that is not accepted."""
    with pytest.raises(InvalidStatus) as caught:
        open_socket(running, path, **headers)
    return caught.value.response.status_code


def test_a_user_who_logged_in_by_http_has_a_session_on_several_streams(running: Server) -> None:
    pages = http.client.HTTPConnection("127.0.0.1", running.port, timeout=WATCHDOG)
    pages.request("GET", "/enter")
    cookie = pages.getresponse().headers["set-cookie"]
    pages.close()
    assert refused(running, "/streams") == 403
    with ShmChannelLayer.attach(running.name) as layer:
        with open_socket(running, "/streams", Cookie=cookie) as client:
            assert client.response is not None
            assert (client.response.headers["x-count"], client.response.headers["x-who"]) == ("1", "7")
            for n in range(1, 21):
                client.send('{"stream": "count", "payload": {}}')
                assert json.loads(client.recv(timeout=WATCHDOG))["payload"]["n"] == n
            client.send('{"stream": "who", "payload": {}}')
            assert json.loads(client.recv(timeout=WATCHDOG)) == {"stream": "who", "payload": {"user": "user 7"}}
            client.send('{"stream": "nobody", "payload": {}}')
            with pytest.raises(ConnectionClosedError) as caught:
                client.recv(timeout=WATCHDOG)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1003
        wait_for("no session is left", lambda: layer.global_statistics()["sessions"] == 0, running.log)  # type: ignore[typeddict-item]


WSGI = """
import os
from shmchan import route
from shmchan.auth import channel_session_user, channel_session_user_from_http, login, logout
from shmchan.http import WsgiConsumer
from shmchan.sessions import SessionMiddleware, use_sessions

use_sessions(path=os.environ["NOTES"] + ".db")

def load_user(user_id):
    return "user " + str(user_id)

def pages(environ, start_response):
    session = environ["shmchan.session"]
    if environ["PATH_INFO"] == "/in":
        login(session, 7)
    elif environ["PATH_INFO"] == "/out":
        logout(session)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(session.get("_auth_user_id")).encode()]

@channel_session_user_from_http
def connect(message):
    message.reply_channel.send({"accept": True, "text": str(message.user)})

@channel_session_user
def receive(message):
    message.reply_channel.send({"text": str(message.user)})

routing = [
    route("http.request", WsgiConsumer(SessionMiddleware(pages))),
    route("websocket.connect", connect),
    route("websocket.receive", receive),
]
"""


def test_a_session_that_a_wsgi_application_made_is_the_websockets(server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "wsgi_pages.py").write_text(WSGI)
    running = server("--workers", "2", "--user-loader", "wsgi_pages:load_user", app="wsgi_pages")
    pages = http.client.HTTPConnection("127.0.0.1", running.port, timeout=WATCHDOG)

    def get(path: str, cookie: str = "") -> tuple[str, str]:
        pages.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = pages.getresponse()
        return answer.read().decode(), answer.headers["set-cookie"] or ""

    assert get("/") == ("None", "")
    body, cookie = get("/in")
    assert body == "7"
    assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    cookie = cookie.partition(";")[0]
    assert get("/", cookie) == ("7", "")
    with open_socket(running, "/", Cookie=cookie) as client:
        assert client.recv(timeout=WATCHDOG) == "user 7"
        client.send("who am I?")
        assert client.recv(timeout=WATCHDOG) == "user 7"
    body, gone = get("/out", cookie)
    assert (body, "Max-Age=0" in gone) == ("None", True)
    with open_socket(running, "/", Cookie=cookie) as client:
        assert client.recv(timeout=WATCHDOG) == "AnonymousUser"
    pages.close()


def test_pages_of_other_hosts_and_clients_without_an_origin_are_told_apart(running: Server) -> None:
    assert refused(running, "/strict", Origin="http://evil.org") == 403
    assert refused(running, "/strict") == 403
    with open_socket(running, "/strict", Origin="https://app.org") as client:
        assert client.response is not None
