"""`shmchan stats` beside a running instance."""

import json
import os
import subprocess

from websockets.sync.client import connect

from tests.servers import WATCHDOG, StartServer, command, environment


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
    assert "dropped: nothing" in done.stdout
    running.stop()


def test_without_an_instance_it_is_one_line() -> None:
    done = stats("--name", f"nobody-{os.getpid()}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("shmchan: no shmchan instance named 'nobody-")
    assert done.stderr.count("\n") == 1
