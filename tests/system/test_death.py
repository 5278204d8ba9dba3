"""
A process of `shmchan run` killed or stopped with something in hand, and what clients and consumers see of it.

Nothing asserts how long that takes; the times from a death to its answer are printed (``pytest -s``).
"""

import http.client
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.servers import WATCHDOG, Server, StartServer, wait_for

APP = """
import json, os, time
from shmchan import Channel, Group, route
from shmchan.asgi import get_channel_layer

NOTES = os.environ["NOTES"]

def note(text):
    with open(NOTES, "a") as file:
        file.write(text + "\\n")

def noted(text):
    return os.path.exists(NOTES) and text in open(NOTES).read()

def hang():
    note(f"hanging {os.getpid()}")
    while not os.path.exists(NOTES + ".go"):
        time.sleep(0.01)

def answer(message, content):
    message.reply_channel.send({"status": 200, "headers": [], "content": content.encode()})

def hang_in_request(message):
    hang()

def members(message):
    answer(message, str(len(get_channel_layer().group_channels("all"))))

def start_job(message, name):
    Channel(name).send({"number": 7, "bytes": b"\\x00"})
    answer(message, "started")

def hang_once(message):
    if not noted("hanging"):
        hang()
    note(f"done {os.getpid()}")

def die(message):
    note(f"dying {os.getpid()}")
    os.kill(os.getpid(), 9)

def bury(message):
    content = dict(message.content["content"], bytes=list(message.content["content"]["bytes"]))
    note("buried " + json.dumps(dict(message.content, content=content)))

def connect(message):
    if message["path"] == "/hang":
        hang()
    Group("all").add(message.reply_channel)
    message.reply_channel.send({"accept": True})

def receive(message):
    if message["text"] == "hang":
        hang()
    message.reply_channel.send({"text": message["text"]})

def disconnect(message):
    note(f"disconnect {message['path']} {message['code']}")

routing = [
    route("http.request", hang_in_request, path=r"/hang$"),
    route("http.request", members, path=r"/members$"),
    route("http.request", start_job, path=r"/start/(?P<name>[a-z.]+)$"),
    route("job.once", hang_once, on_crash="redeliver"),
    route("job.deadly", die, on_crash="redeliver"),
    route("job.dropped", hang_once),
    route("job.buried", hang_once, on_crash="dead_letter"),
    route("shmchan.dead", bury),
    route("websocket.connect", connect),
    route("websocket.receive", receive),
    route("websocket.disconnect", disconnect),
]
"""


@pytest.fixture
def mortal(server: StartServer, tmp_path: Path) -> Callable[..., Server]:
    """Starts the application above."""
    (tmp_path / "mortal.py").write_text(APP)
    return lambda *options: server(*options, app="mortal")


def get(server: Server, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WATCHDOG)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def websocket(server: Server, path: str = "/") -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=WATCHDOG, close_timeout=WATCHDOG, compression=None)


def echo(client: ClientConnection, text: str) -> str | bytes:
    client.send(text)
    return client.recv(timeout=WATCHDOG)


def notes(server: Server, word: str) -> list[str]:
    """What was noted after a word, once for each time."""
    return [note.removeprefix(word + " ") for note in server.read_notes() if note.startswith(word + " ")]


def hanging_worker(server: Server) -> int:
    """The process that a consumer hangs in."""
    wait_for("a consumer that hangs", lambda: notes(server, "hanging"), server.log)
    return int(notes(server, "hanging")[-1])


def request_status(server: Server) -> int:
    return get(server, "/hang")[0]


def handshake_status(server: Server) -> int:
    with pytest.raises(InvalidStatus) as refused:
        websocket(server, "/hang")
    return refused.value.response.status_code


def close_code(server: Server) -> int:
    with websocket(server, "/closed") as client, pytest.raises(ConnectionClosed) as closed:
        echo(client, "hang")
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@pytest.mark.parametrize(
    ("ask", "told", "disconnects"),
    [(request_status, 502, []), (handshake_status, 500, ["/hang"]), (close_code, 1011, ["/closed 1011"])],
    ids=["request", "handshake", "receive"],
)
def test_who_waits_for_a_worker_that_is_killed_is_told(
    mortal: Callable[..., Server], ask: Callable[[Server], int], told: int, disconnects: list[str]
) -> None:
    running = mortal("--workers", "1", "--handshake-timeout", "60", "--http-timeout", "60")
    with ThreadPoolExecutor(1) as pool:
        asked: Future[int] = pool.submit(ask, running)
        worker = hanging_worker(running)
        died = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        assert asked.result(WATCHDOG) == told
        print(f"{told}: {(time.monotonic() - died) * 1000:.1f} ms from death to answer")
    with websocket(running, "/after") as client:
        assert echo(client, "after") == "after"
    running.wait_for_note("disconnect /after 1000")
    seen = [note for note in notes(running, "disconnect") if not note.startswith("/after")]
    assert len(seen) == len(disconnects)
    assert all(note.startswith(expected) for note, expected in zip(seen, disconnects, strict=True))
    running.stop()


def test_what_a_killed_worker_had_in_hand_runs_elsewhere(mortal: Callable[..., Server]) -> None:
    running = mortal("--workers", "2")
    assert get(running, "/start/job.once") == (200, "started")
    worker = hanging_worker(running)
    os.kill(worker, signal.SIGKILL)
    wait_for("the job to be done", lambda: notes(running, "done"), running.log)
    running.stop()
    (by,) = notes(running, "done")
    assert int(by) != worker
    assert not notes(running, "buried")


def test_by_default_what_a_killed_worker_had_in_hand_is_dropped(mortal: Callable[..., Server]) -> None:
    running = mortal("--workers", "2")
    assert get(running, "/start/job.dropped") == (200, "started")
    worker = hanging_worker(running)
    os.kill(worker, signal.SIGKILL)
    wait_for("another worker", lambda: len(running.children("worker").keys() - {worker}) == 2, running.log)
    assert get(running, "/members") == (200, "0")
    running.stop()
    assert not notes(running, "done")


def test_what_kills_three_workers_is_a_dead_letter(mortal: Callable[..., Server]) -> None:
    running = mortal("--workers", "2")
    assert get(running, "/start/job.deadly") == (200, "started")
    wait_for("the dead letter", lambda: notes(running, "buried"), running.log)
    assert get(running, "/members") == (200, "0")
    running.stop()
    dying = notes(running, "dying")
    assert len(dying) == len(set(dying)) == 3
    (buried,) = (json.loads(text) for text in notes(running, "buried"))
    assert buried == {"channel": "job.deadly", "content": {"number": 7, "bytes": [0]}, "cause": "crash", "attempts": 3}


def test_what_a_killed_worker_had_in_hand_is_a_dead_letter_where_the_route_says_so(mortal: Callable[..., Server]) -> None:
    running = mortal("--workers", "2")
    assert get(running, "/start/job.buried") == (200, "started")
    os.kill(hanging_worker(running), signal.SIGKILL)
    wait_for("the dead letter", lambda: notes(running, "buried"), running.log)
    assert get(running, "/members") == (200, "0")
    running.stop()
    assert not notes(running, "done")
    (buried,) = (json.loads(text) for text in notes(running, "buried"))
    assert buried == {"channel": "job.buried", "content": {"number": 7, "bytes": [0]}, "cause": "crash", "attempts": 1}


def test_a_killed_front_lets_every_connection_go_once(mortal: Callable[..., Server]) -> None:
    running = mortal("--workers", "2")
    workers = running.children("worker").keys()
    paths = [f"/{number}" for number in range(12)]
    with ExitStack() as stack:
        clients = [stack.enter_context(websocket(running, path)) for path in paths]
        for client in clients:
            assert echo(client, "before") == "before"
        assert get(running, "/members") == (200, str(len(paths)))
        (front,) = running.children("front").values()
        port = running.port
        front.kill()
        for client in clients:
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=WATCHDOG)
    expected = sorted(f"{path} 1006" for path in paths)
    wait_for("the disconnects", lambda: len(notes(running, "disconnect")) >= len(paths), running.log)
    wait_for("a new front", lambda: running.children("front").keys() - {front.pid}, running.log)
    assert get(running, "/members") == (200, "0")
    assert running.port == port
    with websocket(running, "/after") as client:
        assert echo(client, "after") == "after"
        assert get(running, "/members") == (200, "1")
    running.wait_for_note("disconnect /after 1000")
    assert running.children("worker").keys() == workers
    running.stop()
    assert sorted(note for note in notes(running, "disconnect") if not note.startswith("/after")) == expected


@pytest.mark.parametrize("busy", [True, False], ids=["with a message in hand", "idle"])
def test_a_stopped_worker_delays_nobody_but_its_own_lane(mortal: Callable[..., Server], busy: bool) -> None:
    running = mortal("--workers", "2")
    with ExitStack() as stack:
        clients = [stack.enter_context(websocket(running, f"/{number}")) for number in range(8)]
        stuck = stack.enter_context(websocket(running, "/stuck"))
        if busy:
            stuck.send("hang")
            worker = hanging_worker(running)
        else:
            worker = next(iter(running.children("worker")))
        os.kill(worker, signal.SIGSTOP)
        try:
            stuck.send("behind it")
            for number in range(5):
                for client in clients:
                    assert echo(client, f"{number}") == f"{number}"
            if busy:
                with pytest.raises(TimeoutError):
                    stuck.recv(timeout=0)
        finally:
            Path(f"{running.notes}.go").touch()
            with suppress(ProcessLookupError):  # stopped inside a section of the core: then somebody who waited has killed it
                os.kill(worker, signal.SIGCONT)
        if busy:
            assert stuck.recv(timeout=WATCHDOG) == "hang"
        assert stuck.recv(timeout=WATCHDOG) == "behind it"
    assert not busy or worker in running.children("worker")
    running.stop()
