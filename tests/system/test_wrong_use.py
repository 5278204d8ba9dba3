"""Consumers that are wrong, behind a real server: the client is told, the log has one clear message, the worker lives."""

import http.client
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import StartServer

APP = """
import asyncio, itertools, os, sys, time
from shmchan import Channel, route
from shmchan.exceptions import ConsumeLater, DenyConnection, ShmchanError

def nonsense(message):
    return {"status": 200, "content": object()}

def generator(message):
    message.reply_channel.send({"status": 200})
    yield

def no_dict(message):
    message.reply_channel.send("hello")

def no_value(message):
    message.reply_channel.send({"status": 200, "content": {1, 2}})

def no_channel(message):
    Channel("no such name!!").send({})

def wrong_exception(message):
    raise DenyConnection

def leaves(message):
    exit()

async def leaves_later(message):
    await asyncio.sleep(0)
    sys.exit(3)

def awaits_nothing(message):
    return asyncio.Event().wait()

def slow(message):
    time.sleep(600)

async def slow_later(message):
    await asyncio.sleep(600)

def stubborn(message):
    while True:
        try:
            time.sleep(600)
        except Exception:
            pass

async def blocks_the_loop(message):
    time.sleep(600)

async def dies_later(message):
    await asyncio.sleep(0)
    os.kill(os.getpid(), 9)

def keeps_the_gil(message):
    all(itertools.repeat(1))

def fine(message):
    message.reply_channel.send({"status": 200, "content": b"fine"})

LIMITED = {slow, slow_later, stubborn, blocks_the_loop, keeps_the_gil, awaits_nothing}
plain = [nonsense, generator, no_dict, no_value, no_channel, wrong_exception, leaves, fine]
consumers = [*plain, dies_later, leaves_later, *LIMITED]
routing = [
    route("http.request", each, path=f"/{each.__name__}$", timeout=0.2 if each in LIMITED else None) for each in consumers
]
"""

LIVES = [
    ("generator", 500, "nothing of it ran"),
    ("no_dict", 500, "a message is a dict"),
    ("no_value", 500, "cannot travel in a message"),
    ("no_channel", 500, "no such name!!"),
    ("leaves", 500, "called exit() on http.request"),
    ("leaves_later", 500, "called exit() on http.request"),
    ("awaits_nothing", 504, "took longer than its 0.2 s"),
    ("slow", 504, "took longer than its 0.2 s"),
    ("slow_later", 504, "took longer than its 0.2 s"),
]

UNANSWERED = [  # by the consumer, that is; the front answers in the end
    ("nonsense", 503, "returned a dict on http.request"),  # what is returned is ignored
    ("wrong_exception", 503, "only websocket.connect can be denied"),
]

ENDS = [
    ("dies_later", 502, "was killed by SIGKILL"),
    ("stubborn", 504, "wrong.stubborn did not end within"),
    ("blocks_the_loop", 504, "wrong.blocks_the_loop did not end within"),
    ("keeps_the_gil", 502, "Timeout (0:00:0"),
]


def get(port: int, path: str) -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wrong.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize(("table", "http_timeout"), [(LIVES, "60"), (UNANSWERED, "1")], ids=["answered", "unanswered"])
def test_a_wrong_consumer_is_told_and_its_worker_lives(
    folder: Path, server: StartServer, table: list[tuple[str, int, str]], http_timeout: str
) -> None:
    running = server("--workers", "1", "--http-timeout", http_timeout, "--no-access-log", app="wrong")
    workers = running.children("worker").keys()
    for name, status, text in table:
        before = running.printed()
        assert get(running.port, f"/{name}") == status, name
        said = running.printed()[len(before) :]
        assert text in said, f"{name}: {said}"  # it was logged before the client was told
        serious = re.findall(r"^\S+ \S+ (?:WARNING|ERROR|CRITICAL) +shmchan\.worker .*$", said, re.MULTILINE)
        assert len(serious) == 1, f"{name}: one clear message, not {serious}"
    assert get(running.port, "/fine") == 200
    assert running.children("worker").keys() == workers
    running.stop()


def test_one_that_does_not_end_is_ended_with_its_worker(folder: Path, server: StartServer) -> None:
    running = server("--workers", "1", "--no-access-log", app="wrong")
    for name, status, text in ENDS:
        workers = running.children("worker").keys()
        assert get(running.port, f"/{name}") == status, name
        running.wait_for_print(text)
        assert get(running.port, "/fine") == 200  # by another worker
        assert not running.children("worker").keys() & workers
    running.stop()


def test_threads_are_limited_too(folder: Path, server: StartServer) -> None:
    running = server("--workers", "1", "--threads", "2", "--no-access-log", app="wrong")
    with ThreadPoolExecutor() as clients:  # one is told in the main thread, the other can only be ended
        assert list(clients.map(lambda path: get(running.port, path), ["/slow", "/slow"])) == [504, 504]
    assert get(running.port, "/fine") == 200
    running.stop()
