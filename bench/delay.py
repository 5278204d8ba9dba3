"""
How fast are messages taken in that are to go out later, how late do they go out, how soon is the process there again, how large?

Owns the heaps that are filled for it and the rivals: huey on SQLite, and a table that is polled once a second, as the delay
server of Channels 1.x does it. Run as ``python -m shmchan.bench.delay KIND SUBJECT PENDING COUNT``; prints one round as JSON.
"""

import importlib
import json
import logging
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil

from shmchan import delay
from shmchan.delay.api import ask
from shmchan.delay.heap import SLOT, WALL, Heap
from shmchan.exceptions import ChannelFull
from shmchan.layers.shm import ShmChannelLayer

from .results import SELF, Round, percentiles

HUEY, POLLING = "huey (SQLite)", "a table, polled each second"
FEW, MANY = f"{SELF}, 1,000 waiting", f"{SELF}, 10,000,000 waiting"
WAITING = {FEW: 1000, MANY: 10_000_000}
RIVALS_SHARE = 100
"""Rivals get this part of the messages: they are slower by more than that, and would take minutes."""

HOUR = 3600
AHEAD = 2.0
FIRED_PER_SECOND = 1000
SILENCE_SECONDS = 60.0
CONTENT = {"text": "hello, a moment later", "room": "lobby", "n": 12345}


# --- shmchan


def fill(path: Path, pending: int) -> None:
    """A heap with so many that are due within the hour after the next one; one index is made at the end."""
    with Heap(path) as heap:
        heap._db.executescript("DROP INDEX message_id; PRAGMA synchronous = OFF")
        chance, content, start = random.Random(pending), msgspec.msgpack.encode(CONTENT), time.time() + HOUR
        for first in range(0, pending, 100_000):
            numbers = range(first, min(pending, first + 100_000))
            dues = [int((start + chance.uniform(0, HOUR)) * 1e6) for _ in numbers]
            rows = [(n + 1, f"{n:024x}", "a", content, WALL, due) for n, due in zip(numbers, dues, strict=True)]
            far = sorted((WALL, due // SLOT, n + 1, due) for n, due in zip(numbers, dues, strict=True))
            with heap.transaction():
                heap._db.executemany("INSERT INTO message(n, id, channel, content, clock, due) VALUES(?, ?, ?, ?, ?, ?)", rows)
                heap._db.executemany("INSERT INTO far VALUES(?, ?, ?, ?)", far)
        heap._db.executescript(
            "CREATE UNIQUE INDEX message_id ON message(id) WHERE id IS NOT NULL; PRAGMA wal_checkpoint(TRUNCATE)"
        )


@contextmanager
def delaying(layer: ShmChannelLayer, path: Path) -> Iterator[int]:
    """A delay process as `shmchan run` has it; its pid. It is ready when this is entered."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from shmchan.delay.process import run_delay

            with ShmChannelLayer.attach(layer.name) as own:
                code = run_delay(own, path, ready=lambda: os.write(write_fd, b"x"))
        finally:
            os._exit(code)
    os.close(write_fd)
    try:
        os.read(read_fd, 1)
        yield pid
    finally:
        os.close(read_fd)
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def send_when_there_is_room(layer: ShmChannelLayer, **given: Any) -> None:
    while True:
        try:
            delay.send("a", CONTENT, channel_layer=layer, **given)
            return
        except ChannelFull:
            time.sleep(0.001)


def accept(layer: ShmChannelLayer, path: Path, pending: int, count: int) -> Round:
    """Send as fast as they are taken, until all are on the disk."""
    fill(path, pending)
    chance = random.Random(count)
    with delaying(layer, path):
        start = time.time() + HOUR
        began = time.perf_counter()
        for _ in range(count):
            send_when_there_is_room(layer, at=start + chance.uniform(0, HOUR))
        found = ask(layer, {"request": "stats"}, SILENCE_SECONDS)
        seconds = time.perf_counter() - began
    return Round(rate=count / seconds, lost=pending + count - found["pending"])


def fire(layer: ShmChannelLayer, path: Path, pending: int, count: int) -> Round:
    """Send for times that follow each other by a millisecond; how late each comes to a reader that waits for it."""
    fill(path, pending)
    with delaying(layer, path):
        start = time.time() + AHEAD
        for n in range(count):
            at = start + n / FIRED_PER_SECOND
            delay.send("fired", {"at": at}, at=at, channel_layer=layer)
        late: list[int] = []
        while len(late) < count:
            _, message = layer.receive(["fired"], block=True, timeout=SILENCE_SECONDS)
            if message is None:
                break
            late.append(time.time_ns() - int(message["at"] * 1e9))
    early = sum(one < -1000 for one in late)  # a float of seconds is not told to the ns
    return Round(latency_us=percentiles(late), lost=count - len(late), misordered=early)


def ready(layer: ShmChannelLayer, path: Path, pending: int, count: int) -> Round:
    """From the fork to the answer to the first question, which stands behind what it has to look at first."""
    fill(path, pending)
    times = []
    for _ in range(count):
        began = time.perf_counter_ns()
        with delaying(layer, path):
            delay.cancel("nobody", channel_layer=layer)
            times.append(time.perf_counter_ns() - began)
    return Round(latency_us=percentiles(times))


def memory(layer: ShmChannelLayer, path: Path, pending: int, count: int) -> Round:
    """What the process has for itself after it took in so many; the segment, which all share, is not in it."""
    fill(path, pending)
    chance = random.Random(count)
    with delaying(layer, path) as pid:
        for _ in range(count):
            send_when_there_is_room(layer, at=time.time() + chance.uniform(0, HOUR))
        ask(layer, {"request": "stats"}, SILENCE_SECONDS)
        return Round(size=psutil.Process(pid).memory_full_info().uss)


# --- rivals


def huey_round(kind: str, folder: Path, count: int) -> Round:
    """huey as it comes: no fsync, a scheduler that looks once a second."""
    logging.getLogger("huey").setLevel(logging.CRITICAL)
    huey: Any = importlib.import_module("huey").SqliteHuey(filename=str(folder / "huey.db"))
    late: list[int] = []

    def note(at: float) -> None:
        late.append(time.time_ns() - int(at * 1e9))

    later = huey.task()(note)
    if kind == "accept":
        began = time.perf_counter()
        for n in range(count):
            later.schedule((0.0,), delay=HOUR + n % HOUR)
        return Round(rate=count / (time.perf_counter() - began), lost=count - huey.pending_count())
    consumer = huey.create_consumer(workers=1, scheduler_interval=1, periodic=False, check_worker_health=False)
    start = time.time() + AHEAD
    for n in range(count):
        at = start + n / FIRED_PER_SECOND
        later.schedule((at,), eta=datetime.fromtimestamp(at))
    consumer.start()
    wait_until(lambda: len(late) >= count)
    consumer.stop(graceful=True)
    return Round(latency_us=percentiles(late), lost=count - len(late))


def polling_round(kind: str, folder: Path, count: int) -> Round:
    """A row and a commit for each message; once a second what is due is selected and deleted."""
    db = sqlite3.connect(folder / "polled.db", isolation_level=None, check_same_thread=False)
    db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE message(n INTEGER PRIMARY KEY, due REAL, content BLOB)")
    db.execute("CREATE INDEX message_due ON message(due)")
    content = msgspec.msgpack.encode(CONTENT)
    began = time.perf_counter()
    start = time.time() + (HOUR if kind == "accept" else AHEAD)
    for n in range(count):
        db.execute("INSERT INTO message(due, content) VALUES(?, ?)", (start + n / FIRED_PER_SECOND, content))
    if kind == "accept":
        return Round(rate=count / (time.perf_counter() - began))
    late: list[int] = []

    def poll() -> None:
        while len(late) < count:
            for n, due in db.execute("SELECT n, due FROM message WHERE due <= ?", (time.time(),)).fetchall():
                late.append(time.time_ns() - int(due * 1e9))
                db.execute("DELETE FROM message WHERE n = ?", (n,))
            time.sleep(1)

    thread = threading.Thread(target=poll)
    thread.start()
    thread.join()
    return Round(latency_us=percentiles(late), lost=count - len(late))


def wait_until(condition: Any) -> None:
    patience = time.monotonic() + SILENCE_SECONDS
    while not condition() and time.monotonic() < patience:
        time.sleep(0.05)


# --- one round

KINDS = {"accept": accept, "fire": fire, "ready": ready, "memory": memory}


def measure(kind: str, subject: str, pending: int, count: int) -> Round:
    """
    One round of one subject.

    Args:
        kind: one of KINDS.
        subject: SELF, or a rival, which begins with nothing pending.
        pending: messages that wait before.
        count: messages of the round; starts, for "ready".
    """
    # On a disk: what is in memory would be no test of what reaches the disk.
    with tempfile.TemporaryDirectory(prefix="shmchan-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        if subject == HUEY:
            return huey_round(kind, folder, max(1000, count // RIVALS_SHARE))
        if subject == POLLING:
            return polling_round(kind, folder, max(1000, count // RIVALS_SHARE))
        with ShmChannelLayer.create(f"delay-bench-{os.getpid()}", memory=256 << 20, capacity=100_000) as layer:
            return KINDS[kind](layer, folder / "delay.db", pending, count)


def main() -> None:
    kind, subject, pending, count = sys.argv[1:]
    print(json.dumps(asdict(measure(kind, subject, int(pending), int(count)))))


if __name__ == "__main__":
    main()
