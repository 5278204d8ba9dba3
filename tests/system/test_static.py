"""Static files, the script for browsers and events, from `shmchan run` as a project configures it."""

import http.client
from pathlib import Path
from signal import SIGTERM
from typing import Any

from websockets.sync.client import connect

from shmchan.layers.shm import ShmChannelLayer
from tests.servers import WATCHDOG, Server, StartServer

APP = """
from shmchan import Group, route

STREAM = {"status": 200, "headers": [[b"content-type", b"text/event-stream"]], "content": b"", "more_content": True}

def events(message):
    Group("news").add(message.reply_channel)
    message.reply_channel.send(STREAM)

def connect(message):
    Group("news").add(message.reply_channel)
    message.reply_channel.send({"accept": True})

routing = [route("http.request", events, path="/events$"), route("websocket.connect", connect)]
"""


def get(server: Server, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WATCHDOG)
    connection.request("GET", path, headers={"Connection": "close"})
    return connection.getresponse()


def publish(server: Server, message: dict[str, Any]) -> None:
    """Send to the group from another process than the server's."""
    with ShmChannelLayer.attach(server.name) as layer:
        layer.send_group("news", message)


def test_a_project_has_its_folders_its_script_and_its_events(server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "news.py").write_text(APP)
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "page.html").write_text("<p>hello")
    (tmp_path / "pyproject.toml").write_text('[tool.shmchan]\nstatic = "/static=public"\njs-path = "/js/shmchan.js"\n')
    running = server("--workers", "1", app="news")
    assert get(running, "/static/page.html").read() == b"<p>hello"
    assert get(running, "/static/../news.py").status == 404
    assert b"WebSocketBridge" in get(running, "/js/shmchan.js").read()
    assert b"WebSocketBridge" in get(running, "/js/shmchan.mjs").read()
    with get(running, "/events") as stream, connect(f"ws://127.0.0.1:{running.port}/", open_timeout=WATCHDOG) as socket:
        assert stream.getheader("content-type") == "text/event-stream"
        publish(running, {"data": "for streams", "id": 1})
        publish(running, {"text": "for sockets"})
        publish(running, {"data": "last", "text": "both"})
        assert [socket.recv(timeout=WATCHDOG), socket.recv(timeout=WATCHDOG)] == ["for sockets", "both"]
        assert [stream.readline() for _ in range(5)] == [b"id: 1\n", b"data: for streams\n", b"\n", b"data: last\n", b"\n"]
        running.send_signal(SIGTERM)
        assert stream.read() == b""  # a good end, before the graceful time is over
    running.stop_was_asked()
