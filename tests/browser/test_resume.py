"""shmchan.js comes back and asks for what it missed: nothing twice, nothing out of order, and a gap is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmchan import Group
from shmchan.layers.shm import ShmChannelLayer
from tests.browser.windows import Window, open_window, require_chromium
from tests.servers import Server, StartServer

APP = """
from shmchan import Group, route
from shmchan.resume import resume

room = Group("room", history=5, presence=True)

def connect(message):
    room.add(message.reply_channel, "ann")
    message.reply_channel.send({"accept": True})

def receive(message):
    if not resume(message, room):
        message.reply_channel.send({"close": 4000})

routing = [
    route("websocket.connect", connect),
    route("websocket.receive", receive),
    route("websocket.disconnect", lambda message: None),
]
"""
PAGE = """<!DOCTYPE html><title>resume</title><script src="/shmchan.js"></script><script>
const heard = [], gaps = [];
const bridge = new shmchan.WebSocketBridge({
  firstDelay: 50, longestDelay: 200,
  ongap: (group, detail) => gaps.push([group, detail.reason, detail.missed]),
});
let away = false; // then it tries an address where nobody answers
bridge.follow("room");
bridge.listen((message) => message.presence ? null : heard.push(message.n));
bridge.connect(() => away ? "ws://127.0.0.1:1/" : "/room");
</script>"""


@pytest.fixture
def site(server: StartServer, tmp_path: Path) -> Server:
    (tmp_path / "resume_app.py").write_text(APP)
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text(PAGE)
    return server("--workers", "2", "--static", "/page=page", "--js-path", "/shmchan.js", app="resume_app")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    require_chromium()
    with open_window(tmp_path / "profile") as window:
        yield window


def test_it_gets_what_it_missed_in_order_and_is_told_of_a_gap(window: Window, site: Server) -> None:
    layer = ShmChannelLayer.attach(site.name)
    room = Group("room", channel_layer=layer, history=5)

    def say(*numbers: int) -> None:
        for n in numbers:
            room.send({"text": f'{{"n": {n}}}'})

    def wait_until_heard(*numbers: int) -> Any:
        window.wait_for(f"{numbers}", "JSON.stringify(heard) === JSON.stringify([...arguments])", *numbers)

    window.driver.get(f"{site.url}/page/index.html")
    window.wait_for("the connection", "bridge.state === 'open'")
    say(1, 2)
    wait_until_heard(1, 2)
    window.run("away = true; bridge.socket.reconnect()")
    window.wait_for("it to be away", "bridge.state !== 'open'")
    say(3, 4, 5)
    window.run("away = false")
    wait_until_heard(1, 2, 3, 4, 5)
    say(6)
    wait_until_heard(1, 2, 3, 4, 5, 6)
    assert window.run("return gaps") == []
    window.run("away = true; bridge.socket.reconnect()")
    window.wait_for("it to be away again", "bridge.state !== 'open'")
    say(*range(7, 17))
    window.run("away = false")
    wait_until_heard(1, 2, 3, 4, 5, 6, *range(12, 17))
    assert window.run("return gaps") == [["room", "forgotten", 5]]
    assert [*room.members()] == ["ann"]
    layer.close()
