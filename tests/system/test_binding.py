"""
Many changes in one transaction of a process that is none of the server's, and many browsers that see them.

``make binding`` runs it with 1,000 connections; CI with fewer.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from shmchan.layers.shm import ShmChannelLayer
from tests.servers import WATCHDOG, Server, StartServer, environment, wait_for

CONNECTIONS = int(os.environ.get("BINDING_CONNECTIONS", "30"))
ROWS, ROUNDS = 2000, 5  # 10,000 changes

SHOP = f"""
import os
from sqlalchemy import String, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from shmchan import route_class
from shmchan.binding.sqlalchemy import attach
from shmchan.binding.websockets import WebsocketBinding
from shmchan.generic.websockets import WebsocketDemultiplexer

class Base(DeclarativeBase):
    pass

class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    stock: Mapped[int] = mapped_column(default=0)
    hidden: Mapped[bool] = mapped_column(default=False)

class ItemBinding(WebsocketBinding):
    model = Item
    stream = "items"
    fields = "__all__"

    def group_names(self, instance):
        return ["staff"] if instance.hidden else ["staff", "guests"]

    def has_permission(self, user, action, pk):
        return True

class Shop(WebsocketDemultiplexer):
    consumers = {{"items": ItemBinding.consumer}}

    def connection_groups(self, who):
        return [who]

engine = create_engine("sqlite:///" + os.environ["NOTES"] + ".shop")
sessions = sessionmaker(engine)
attach(sessions)
Base.metadata.create_all(engine)
routing = [route_class(Shop, path="/(?P<who>staff|guests)$")]

def stock_up():
    with sessions.begin() as session:
        session.add_all(Item(id=number, name=f"item {{number}}") for number in range(1, {ROWS} + 1))

def count_everything():
    with sessions.begin() as session:
        items = session.scalars(select(Item).order_by(Item.id)).all()
        for turn in range(1, {ROUNDS} + 1):
            for item in items:
                item.stock = turn
            session.flush()
        for item in items[::4]:
            item.hidden = True
"""


def changes_of(frames: list[str]) -> list[tuple[str, int, int]]:
    """``(action, pk, stock)`` of each change, of batches that lack no part."""
    found = []
    for text in frames:
        payload = json.loads(text)["payload"]
        for change in payload.get("changes", [payload]):
            found.append((change["action"], change["pk"], change["data"]["stock"]))
    return found


async def read(connection: ClientConnection, rows: int) -> list[str]:
    """Frames until they tell of so many rows."""
    frames: list[str] = []
    while rows > 0:
        frames.append(str(await connection.recv()))
        payload: dict[str, Any] = json.loads(frames[-1])["payload"]
        rows -= len(payload.get("changes", [payload]))
    return frames


async def hear(server: Server, do: Any) -> dict[str, list[list[str]]]:
    """What each connection heard of two transactions, by its group."""
    groups = ["staff", "guests"] * (CONNECTIONS // 2)
    url = f"ws://127.0.0.1:{server.port}/"
    connections = [await connect(url + group, open_timeout=WATCHDOG, proxy=None, ping_interval=None) for group in groups]
    try:
        started = time.perf_counter()
        for function in ("stock_up", "count_everything"):
            await asyncio.to_thread(do, function)
        async with asyncio.timeout(10 * WATCHDOG):
            heard = await asyncio.gather(*(read(connection, 2 * ROWS) for connection in connections))
        print(
            f"{len(connections)} connections heard of {ROWS} + {ROWS * ROUNDS} changes in {time.perf_counter() - started:.1f} s"
        )
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))
    return {group: [frames for name, frames in zip(groups, heard, strict=True) if name == group] for group in set(groups)}


def test_ten_thousand_changes_reach_everybody_once_per_row_in_order_and_nothing_is_dropped(
    server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    running = server("--workers", "1", "--memory", "128MiB", "--no-access-log", app="shop")

    def do(function: str) -> None:
        env = environment(NOTES=str(running.notes), SHMCHAN_NAME=running.name)
        env["PYTHONPATH"] += f":{tmp_path}"
        subprocess.run([sys.executable, "-c", f"import shop; shop.{function}()"], env=env, check=True, timeout=2 * WATCHDOG)

    heard = asyncio.run(hear(running, do))
    rows = range(1, ROWS + 1)
    hidden = [number for number in rows if number % 4 == 1]
    created = [("create", number, 0) for number in rows]
    expected = {
        "staff": [*created, *(("update", number, ROUNDS) for number in rows)],
        "guests": [
            *created,
            *(("delete", number, 0) for number in hidden),
            *(("update", number, ROUNDS) for number in rows if number not in hidden),
        ],
    }
    for group, each in heard.items():
        assert len(each) == CONNECTIONS // 2
        for frames in each:
            assert changes_of(frames) == expected[group]
            assert len(frames) < 100, "what a client's queue holds"
    with ShmChannelLayer.attach(running.name) as layer:
        counted: Any = layer.global_statistics()
        assert {cause: count for cause, count in counted["dropped"].items() if count} == {}
        assert counted["channel_full_count"] == 0
        wait_for("memory to come back", lambda: layer.global_statistics()["messages_pending"] == 0)
