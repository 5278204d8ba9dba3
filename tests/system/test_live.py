"""LiveServer: real processes, found by url, talked to through the segment, and gone afterwards."""

import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect

from shmchan import Group
from shmchan.testing import ChannelLiveServerTestCase, LiveServer
from shmchan.testing.live import LiveServerFailed
from tests.servers import left_behind, wait_for

APP = """
from shmchan import Group, route

def page(message):
    message.reply_channel.send({"status": 200, "content": b"a page"})

def welcome(message):
    Group("all").add(message.reply_channel)
    message.reply_channel.send({"accept": True})

routing = [route("http.request", page), route("websocket.connect", welcome)]
"""


def test_a_live_server_serves_and_the_test_talks_to_it(shmchan_live_server: Callable[..., LiveServer], tmp_path: Path) -> None:
    (tmp_path / "live_app.py").write_text(APP)
    server = shmchan_live_server("live_app", app_dir=tmp_path)
    with urllib.request.urlopen(server.url, timeout=30) as answer:
        assert answer.read() == b"a page"
    with connect(server.ws_url, open_timeout=30) as client:
        wait_for("the member", lambda: server.layer.group_channels("all"))
        Group("all").send({"text": "from the test"})
        assert client.recv(timeout=30) == "from the test"
    assert left_behind(server.name) != []


def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = LiveServer("no_such_module", app_dir=tmp_path)
    with pytest.raises(LiveServerFailed, match="no_such_module"):
        server.__enter__()
    assert left_behind(server.name) == []


class TestLive(ChannelLiveServerTestCase):
    app = "shmchan.examples.echo"

    def test_it_has_urls(self) -> None:
        with connect(self.live_server_ws_url, open_timeout=30) as client:
            client.send("hello")
            assert client.recv(timeout=30) == "hello"
        assert self.live_server_url.startswith("http://127.0.0.1:")
