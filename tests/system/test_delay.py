"""Delayed messages in a real run: through deaths, stops and restarts of its processes."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from shmchan import delay
from shmchan.exceptions import DelaySilent
from shmchan.layers.shm import ShmChannelLayer
from tests.servers import WATCHDOG, Server, StartServer, command, environment, wait_for

APP = """
import os
from shmchan import Channel, delay, route

def note(message):
    with open(os.environ["NOTES"], "a") as file:
        file.write(message["text"] + "\\n")

def connect(message):
    message.reply_channel.send({"accept": True})
    delay.send(message.reply_channel, {"text": "welcome, a moment later"}, 20)

routing = [route("notes", note), route("websocket.connect", connect)]
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    (tmp_path / "later.py").write_text(APP)
    return "later"


def send(server: Server, text: str, wait: float, ident: str | None = None) -> None:
    with ShmChannelLayer.attach(server.name) as layer:
        delay.send("notes", {"text": text}, wait, id=ident, channel_layer=layer)


def pid_of_delay(server: Server) -> int:
    [pid] = server.children("delay")
    return pid


def stop_the_delay_process(server: Server) -> None:
    """SIGSTOP while it waits: inside a section of the segment it would be killed by whoever needs the lock."""
    wait_for_pending(server, 0)
    process = psutil.Process(pid_of_delay(server))
    wait_for("it to sleep", lambda: process.status() == psutil.STATUS_SLEEPING)
    process.suspend()


def wait_for_pending(server: Server, count: int) -> None:
    with ShmChannelLayer.attach(server.name) as layer:
        wait_for("the messages to be stored", lambda: len(delay.pending(channel_layer=layer, timeout=WATCHDOG)) == count)


def test_a_reply_channel_gets_what_a_consumer_sent_later(server: StartServer, app: str) -> None:
    running = server(app=app)
    with connect(f"ws://127.0.0.1:{running.port}/", open_timeout=WATCHDOG) as client:
        assert client.recv(timeout=WATCHDOG) == "welcome, a moment later"


def test_a_delay_process_that_is_killed_is_replaced_and_nothing_is_lost_or_doubled(server: StartServer, app: str) -> None:
    running = server(app=app)
    send(running, "long", 1e9)
    for round_ in range(3):
        for number in range(20):
            send(running, f"{round_} {number}", number * 10)
        os.kill(pid_of_delay(running), signal.SIGKILL)
        running.wait_for_note(f"{round_} 19")
    wait_for_pending(running, 1)
    wait_for("all notes", lambda: len(running.read_notes()) >= 60)
    assert sorted(running.read_notes()) == sorted(f"{round_} {number}" for round_ in range(3) for number in range(20))
    assert running.printed().count("was killed by SIGKILL; starting it again") == 3


def test_what_waits_outlives_a_stop(server: StartServer, app: str) -> None:
    first = server(app=app)
    send(first, "tomorrow", 86400_000)
    send(first, "soon", 0)
    first.wait_for_note("soon")
    first.stop()
    second = server(app=app, name=first.name)
    with ShmChannelLayer.attach(second.name) as layer:
        [waits] = delay.pending(channel_layer=layer)
        delay.send(waits.channel, waits.content or {}, delay=0, id=waits.id, channel_layer=layer)
    second.wait_for_note("tomorrow")


def test_what_the_delay_process_had_not_stored_outlives_a_stop(server: StartServer, app: str) -> None:
    first = server("--graceful-timeout", "0.5", app=app)
    stop_the_delay_process(first)
    send(first, "in the last moment", 0)
    first.stop(code=1)  # the stopped one had to be killed
    second = server(app=app, name=first.name)
    second.wait_for_note("in the last moment")
    second.stop()
    assert second.read_notes() == ["in the last moment"]


def test_what_the_delay_process_had_not_stored_outlives_a_run_that_is_killed(server: StartServer, app: str) -> None:
    first = server(app=app)
    stop_the_delay_process(first)
    send(first, "in the last moment", 0)
    first.kill()
    second = server(app=app, name=first.name)
    second.wait_for_note("in the last moment")
    second.stop()
    assert second.read_notes() == ["in the last moment"]


def test_no_delay_means_no_process(server: StartServer, app: str) -> None:
    running = server("--no-delay", app=app)
    assert running.children("delay") == {}
    with ShmChannelLayer.attach(running.name) as layer, pytest.raises(DelaySilent, match="--no-delay"):
        delay.cancel("x", timeout=0.1, channel_layer=layer)


def test_delay_db_says_where(server: StartServer, app: str, tmp_path: Path) -> None:
    running = server("--delay-db", "here.db", app=app)
    send(running, "x", 1e9)
    wait_for_pending(running, 1)
    assert (tmp_path / "here.db").exists()
    listed = subprocess.run(command("delay", "list", "--db", "here.db"), capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "notes" in listed.stdout


def test_a_file_that_is_no_heap_stops_the_start_with_one_line(tmp_path: Path, app: str) -> None:
    (tmp_path / "bad.db").write_bytes(os.urandom(5000))
    arguments = command(
        "run", app, "--name", f"bad-{os.getpid()}", "--bind", "127.0.0.1:0", "--delay-db", "bad.db", "--memory", "32MiB"
    )
    env = environment(NOTES="notes")
    run = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=WATCHDOG, check=False)
    assert run.returncode == 2
    assert "bad.db: it is damaged" in run.stderr
    assert run.stderr.count("\n") == 1


def test_debug_has_delay_in_the_same_process(server: StartServer, app: str) -> None:
    running = server("--debug", app=app)
    with connect(f"ws://127.0.0.1:{running.port}/", open_timeout=WATCHDOG) as client:
        assert client.recv(timeout=WATCHDOG) == "welcome, a moment later"


def test_the_command_line_shows_and_takes_away(server: StartServer, app: str) -> None:
    running = server(app=app)
    for number in range(3):
        send(running, f"text {number}", 1e9, f"i{number}")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = environment(XDG_STATE_HOME=str(running.folder / "state"))
        given = command("delay", *arguments, "--name", running.name)
        return subprocess.run(given, capture_output=True, text=True, timeout=WATCHDOG, env=env, check=False)

    def check(left: list[str]) -> None:
        listed = run("list")
        assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == left, listed
        assert f'"pending": {len(left)}' in run("stats", "--json").stdout

    check(["i0", "i1", "i2"])
    assert run("cancel", "i1").returncode == 0
    assert run("cancel", "i1").returncode == 1
    check(["i0", "i2"])
    assert run("list", "elsewhere").stdout == "Nothing waits for elsewhere.\n"
    running.stop()
    check(["i0", "i2"])  # the file alone
    assert run("cancel", "i0").returncode == 0
    assert run("purge", "notes").stdout == "1 taken away\n"
    assert run("list").stdout == "Nothing waits.\n"
    assert run("stats").stdout.startswith("pending        0\n")
    assert run("cancel").returncode == 2
