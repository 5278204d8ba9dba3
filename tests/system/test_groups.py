"""
Groups that remember, on a real server: clients that were away get what they missed, and who is there is right whoever is killed.

``make resume`` cuts 1,000 clients off for 30 s; here they are fewer, and away for a moment.
"""

import asyncio
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

from shmchan import Group
from shmchan.layers.shm import ShmChannelLayer
from tests.servers import WATCHDOG, Server, StartServer, wait_for

CLIENTS = int(os.environ.get("RESUME_CLIENTS", "150"))
AWAY = float(os.environ.get("RESUME_SECONDS", "1"))
RATE = 6000 // CLIENTS  # messages a second, each to every client: what one process of Python can read
HISTORY = int((AWAY + 60) * RATE)
APP = f"""
import os, time
from shmchan import Group, route
from shmchan.resume import resume

room = Group("room", history={HISTORY}, presence=True)
short = Group("short", history=3)

def connect(message):
    user = message["path"].rpartition("/")[2]
    for group in (room, short):
        group.add(message.reply_channel, **({{"user": user}} if group.presence and user else {{}}))
    message.reply_channel.send({{"accept": True}})

def receive(message):
    if message["text"] == "die":
        os.kill(os.getpid(), 9)
    resume(message, room, short)

routing = [
    route("websocket.connect", connect),
    route("websocket.receive", receive),
    route("websocket.disconnect", lambda message: None),
]
"""


@pytest.fixture
def running(server: StartServer, tmp_path: Path) -> Server:
    (tmp_path / "groups_app.py").write_text(APP)
    return server("--workers", "2", "--memory", "64MiB", "--capacity", "1000", app="groups_app")


@contextmanager
def attached(running: Server) -> Iterator[ShmChannelLayer]:
    layer = ShmChannelLayer.attach(running.name)
    try:
        yield layer
    finally:
        layer.close()


class Client:
    """What shmchan.js does with places, in short; it notes what its application gets."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.place: dict[str, Any] | None = None
        self.got: list[str] = []
        self.gaps = 0
        self.came_back = 0.0
        self.resumed = asyncio.Event()

    async def live(self, cut: asyncio.Event) -> None:
        """One connection, until it is cut."""
        async with connect_async(self.url, open_timeout=WATCHDOG, ping_interval=None) as socket:
            self.came_back = time.monotonic()
            await socket.send(json.dumps({"shmchan": {"resume": {"room": self.place}}}))
            reading = asyncio.create_task(self.read(socket))
            await cut.wait()
            reading.cancel()
            socket.transport.abort()

    async def read(self, socket: ClientConnection) -> None:
        held: list[dict[str, Any]] | None = [] if self.place else None
        async for data in socket:
            frame = json.loads(data)
            place = frame.get("shmchan")
            if place is None or place["group"] != "room":
                continue
            if "resumed" not in frame:
                if held is None:
                    self.take(place, frame["text"])
                else:
                    held.append(frame)
                continue
            self.gaps += place["gap"]
            for offset, content in frame["resumed"]:
                self.take({**place, "offset": offset}, content["text"])
            if not place["more"]:
                if self.place is None:
                    self.place = {"epoch": place["epoch"], "offset": place["offset"]}
                for late in held or []:
                    self.take(late["shmchan"], late["text"])
                held = None
                self.resumed.set()

    def take(self, place: dict[str, Any], text: str) -> None:
        if self.place is None or place["offset"] > self.place["offset"]:
            self.place = {"epoch": place["epoch"], "offset": place["offset"]}
            self.got.append(text)


@pytest.mark.timeout(240)
def test_clients_that_were_cut_off_get_exactly_what_they_missed(running: Server, capsys: pytest.CaptureFixture[str]) -> None:
    stop, sent = threading.Event(), 0

    def talk() -> None:
        nonlocal sent
        with attached(running) as layer:
            room = Group("room", channel_layer=layer, history=HISTORY)
            while not stop.wait(1 / RATE):
                sent += 1
                room.send({"text": str(sent)})
            room.send({"text": "end"})

    async def everybody() -> list[Client]:
        clients = [Client(f"ws://127.0.0.1:{running.port}/") for _ in range(CLIENTS)]
        cut, end = asyncio.Event(), asyncio.Event()
        lives = [asyncio.create_task(client.live(cut)) for client in clients]
        await asyncio.gather(*(asyncio.wait_for(client.resumed.wait(), WATCHDOG) for client in clients))
        talking = asyncio.create_task(asyncio.to_thread(talk))
        await until(lambda: all(len(client.got) >= 20 for client in clients))
        cut.set()
        await asyncio.gather(*lives)
        before = [len(client.got) for client in clients]
        for client in clients:
            client.resumed.clear()
        gone = time.monotonic()
        await asyncio.sleep(AWAY)

        async def come_back(client: Client) -> None:
            await asyncio.sleep(random.random())  # as shmchan.js does: anything up to its delay
            await client.live(end)

        lives = [asyncio.create_task(come_back(client)) for client in clients]
        await asyncio.gather(*(asyncio.wait_for(client.resumed.wait(), WATCHDOG) for client in clients))
        stop.set()
        await talking
        await until(lambda: all(client.got[-1] == "end" for client in clients))
        end.set()
        await asyncio.gather(*lives)
        assert all(client.came_back - gone >= AWAY for client in clients)
        spread = Counter(int((client.came_back - gone - AWAY) * 10) for client in clients)
        missed = [len(client.got) - count for client, count in zip(clients, before, strict=True)]
        with capsys.disabled():
            print(
                f"\n{CLIENTS} clients away for {AWAY:g} s: {sent} messages, {min(missed)} to {max(missed)} of them after the cut,"
                f" {sum(client.gaps for client in clients)} gaps; back by tenths of a second: {sorted(spread.items())}"
            )
        return clients

    for client in asyncio.run(everybody()):
        first = int(client.got[0])
        assert client.got == [*map(str, range(first, sent + 1)), "end"]
        assert client.gaps == 0


async def until(condition: Any) -> None:
    async with asyncio.timeout(2 * WATCHDOG):
        while not condition():
            await asyncio.sleep(0.01)


def test_who_was_away_for_too_long_is_told_of_the_gap(running: Server) -> None:
    with connect(f"ws://127.0.0.1:{running.port}/") as socket, attached(running) as layer:
        short = Group("short", channel_layer=layer, history=3)
        for n in range(10):
            short.send({"text": str(n)})
        frames = [json.loads(socket.recv(WATCHDOG)) for _ in range(10)]
        assert [(frame["text"], frame["shmchan"]["offset"]) for frame in frames] == [(str(n), n + 1) for n in range(10)]
        for place, gap in (({"epoch": layer.epoch, "offset": 2}, True), ({"epoch": layer.epoch, "offset": 8}, False)):
            socket.send(json.dumps({"shmchan": {"resume": {"short": place, "secret": None}}}))
            answer, refusal = (json.loads(socket.recv(WATCHDOG)) for _ in range(2))
            assert answer["shmchan"]["gap"] is gap
            assert [text["text"] for _, text in answer["resumed"]] == (["7", "8", "9"] if gap else ["8", "9"])
            assert refusal == {"shmchan": {"group": "secret", "refused": True}}


def test_who_is_there_is_right_whoever_is_killed(running: Server) -> None:
    url = f"ws://127.0.0.1:{running.port}/"
    with attached(running) as layer, ExitStack() as sockets:
        room = Group("room", channel_layer=layer, presence=True)
        room.add("listener")
        told: list[tuple[str, str]] = []

        def hear() -> list[tuple[str, str]]:
            while (message := layer.receive(["listener"])[1]) is not None:
                word = json.loads(message["text"])
                told.append((word["presence"], word["user"]))
            return told

        ann, _, bob = (sockets.enter_context(connect(url + user)) for user in ("ann", "ann", "bob"))
        wait_for("both to be there", lambda: {*room.members()} == {"ann", "bob"}, running.log)
        wait_for("both to be heard", lambda: sorted(hear()) == [("join", "ann"), ("join", "bob")], running.log)
        ann.close()
        bob.send("die")
        wait_for("bob to be gone with his worker", lambda: [*room.members()] == ["ann"], running.log)
        wait_for("bob's leave", lambda: ("leave", "bob") in hear(), running.log)
        assert told.count(("leave", "ann")) == 0
        [front] = running.children("front").values()
        front.send_signal(signal.SIGKILL)
        wait_for("ann to be gone with the front", lambda: room.members() == {}, running.log)
        wait_for("ann's leave", lambda: ("leave", "ann") in hear(), running.log)
        assert Counter(told) == {("join", "ann"): 1, ("join", "bob"): 1, ("leave", "ann"): 1, ("leave", "bob"): 1}
        wait_for("the new front", lambda: front.pid not in running.children("front") and running.children("front"), running.log)
