"""
Order seen from outside: many WebSockets, several workers, consumers that take random times. No time is asserted.

``make order`` has 1,000 WebSockets and 8 workers; a plain run of the tests has fewer.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.servers import WATCHDOG, StartServer

CONNECTIONS, WORKERS = (int(number) for number in os.environ.get("ORDER", "60,4").split(","))
FRAMES = 10

APP = """
import json, os, random, time
from shmchan import route
from shmchan.sessions import channel_session, enforce_ordering

def take(message):
    time.sleep(random.uniform(0, 0.004))
    session = message.channel_session
    session["seen"] = [*session.get("seen", []), message.get("text", message.channel_name)]

@channel_session
def connect(message):
    take(message)
    message.reply_channel.send({"accept": True})

@channel_session
def receive(message):
    assert "busy" not in message.channel_session, "two messages of one connection at the same time"
    message.channel_session["busy"] = True
    message.channel_session.save()
    take(message)
    del message.channel_session["busy"]
    answer = {"seen": message.channel_session["seen"], "pid": os.getpid()}
    message.reply_channel.send({"text": json.dumps(answer)})

@channel_session
def disconnect(message):
    take(message)
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps(message.channel_session["seen"]) + "\\n")

def routes(around):
    return [
        route("websocket.connect", around(connect)),
        route("websocket.receive", around(receive)),
        route("websocket.disconnect", around(disconnect)),
    ]

default = routes(lambda consumer: consumer)
enforced = routes(enforce_ordering)
"""


async def talk(url: str) -> set[int]:
    """Send all frames at once, and read what the consumers have seen; returns the workers that answered."""
    workers = set()
    async with connect(url, open_timeout=WATCHDOG, compression=None) as client:
        for number in range(FRAMES):
            await client.send(str(number))
        for number in range(FRAMES):
            async with asyncio.timeout(WATCHDOG):
                answer = json.loads(await client.recv())
            assert answer["seen"] == ["websocket.connect", *map(str, range(number + 1))]
            workers.add(answer["pid"])
    return workers


@pytest.mark.parametrize("routing", ["default", "enforced"])
def test_every_connection_is_in_order_on_several_workers(server: StartServer, tmp_path: Path, routing: str) -> None:
    (tmp_path / "order.py").write_text(APP)
    room = ("--capacity", str(CONNECTIONS * 2), "--memory", "128MiB")
    options = ("--workers", str(WORKERS), "--no-access-log", "--handshake-timeout", "60", *room)
    running = server(*options, app=f"order:{routing}")

    async def everybody() -> list[set[int]]:
        return await asyncio.gather(*(talk(f"ws://127.0.0.1:{running.port}/") for _ in range(CONNECTIONS)))

    workers = set[int]().union(*asyncio.run(everybody()))
    assert len(workers) > 1, "they ran in parallel"
    running.stop()
    whole = ["websocket.connect", *map(str, range(FRAMES)), "websocket.disconnect"]
    assert [json.loads(note) for note in running.read_notes()] == [whole] * CONNECTIONS
