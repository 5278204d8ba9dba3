"""`shmchan stats` beside a running instance."""

import json
import os
import subprocess
from pathlib import Path
from urllib.request import urlopen

from websockets.sync.client import connect

from tests.servers import WATCHDOG, StartServer, command, environment, left_behind, wait_for


def stats(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("stats", *arguments), env=environment(**env), capture_output=True, text=True, timeout=WATCHDOG, check=False
    )


def test_it_counts_what_a_running_instance_did(server: StartServer) -> None:
    running = server("--workers", "1")
    with connect(f"ws://127.0.0.1:{running.port}/", open_timeout=WATCHDOG, close_timeout=WATCHDOG) as client:
        for number in range(5):
            client.send(str(number))
            assert client.recv(timeout=WATCHDOG) == str(number)
    running.wait_for_note("disconnect / 1000")
    done = stats("--name", running.name, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["name"] == running.name
    assert told["global"]["memory_total"] == 32 << 20
    assert 0 <= told["global"]["memory_used"] < 32 << 20
    counts = {row["name"]: row["messages_count"] for row in told["channels"]}
    assert counts["websocket.connect"] == 1
    assert counts["websocket.receive"] == 5
    assert counts["websocket.disconnect"] == 1
    assert all(count == 0 for row in told["channels"] for count in row["dropped"].values())


def test_the_table_shows_each_channel(server: StartServer) -> None:
    running = server("--workers", "1")
    done = stats(SHMCHAN_NAME=running.name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"instance {running.name}: ")
    assert "dropped in channels: nothing" in done.stdout
    running.stop()


NEWS = """
from shmchan import Group, route

def connect(message):
    Group("news").add(message.reply_channel)
    headers = [[b"content-type", b"text/event-stream"]]
    message.reply_channel.send({"status": 200, "headers": headers, "content": b": hi", "more_content": True})

def spoil(message):
    Group("news").send({"id": "1\\n", "data": "never seen"})
    message.reply_channel.send({"status": 204})

routing = [route("http.request", connect, path=r"/news$"), route("http.request", spoil)]
"""


def test_what_the_front_dropped_is_shown_while_it_runs_and_after_its_death(server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "news.py").write_text(NEWS)
    running = server("--workers", "1", app="news")

    def spoil() -> None:
        with urlopen(running.url + "/news", timeout=WATCHDOG) as stream:
            assert stream.read(4) == b": hi"
            with urlopen(running.url + "/spoil", timeout=WATCHDOG) as answer:
                assert answer.status == 204
            wait_for("the event to be dropped", lambda: running.printed().count("an event is dropped") == drops)

    def counted() -> dict[str, int]:
        done = stats("--name", running.name, "--json")
        assert done.returncode == 0, done.stderr
        front: dict[str, int] = json.loads(done.stdout)["front"]
        return front

    assert counted()["bad.event"] == 0
    drops = 1
    spoil()
    assert "group news: an event is dropped" in running.printed()
    assert counted()["bad.event"] == 1
    (front,) = running.children("front").values()
    front.kill()
    wait_for("another front", lambda: running.children("front").keys() - {front.pid})
    assert counted()["bad.event"] == 1
    drops = 2
    spoil()
    lines = [line.split() for line in stats("--name", running.name).stdout.splitlines()]
    assert lines.index(["front", "count"]) < lines.index(["bad.event", "2"])
    running.stop()
    assert left_behind(running.name) == []


def test_without_an_instance_it_is_one_line() -> None:
    done = stats("--name", f"nobody-{os.getpid()}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("shmchan: no shmchan instance named 'nobody-")
    assert done.stderr.count("\n") == 1
