"""Delayed messages in a real run: through deaths, stops and restarts of its processes."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from shmchan import delay
from shmchan.delay import absence
from shmchan.exceptions import NoDelay
from shmchan.layers.instance import base_folder, segment_path
from shmchan.layers.shm import ShmChannelLayer
from tests.servers import WATCHDOG, Server, StartServer, command, environment, wait_for

APP = """
import os
from shmchan import Channel, delay, route
from shmchan.exceptions import NoDelay

def note(message):
    with open(os.environ["NOTES"], "a") as file:
        file.write(message["text"] + "\\n")

def connect(message):
    message.reply_channel.send({"accept": True})
    try:
        delay.send(message.reply_channel, {"text": "welcome, a moment later"}, 20)
    except NoDelay as error:
        message.reply_channel.send({"text": str(error)})
        Channel("asgi.delay").send({"channel": "notes", "content": {"text": "by hand"}, "delay": 1})

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
    with ShmChannelLayer.attach(running.name) as layer:
        for ask in (
            lambda: delay.send("notes", {}, every="0 7 * * *", channel_layer=layer),
            lambda: delay.cancel("x", timeout=WATCHDOG, channel_layer=layer),
            lambda: delay.pending(timeout=WATCHDOG, channel_layer=layer),
        ):
            with pytest.raises(NoDelay, match="--no-delay"):
                ask()
        assert layer.channel_statistics("asgi.delay")["messages_count"] == 0
    for arguments in (["list"], ["stats"], ["cancel", "x"], ["purge"]):
        given = command("delay", *arguments, "--name", running.name)
        asked = subprocess.run(given, capture_output=True, text=True, timeout=WATCHDOG, check=False)
        assert (asked.returncode != 0, asked.stderr.count("\n")) == (True, 1), asked
        assert "--no-delay" in asked.stderr


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_consumers_hear_that_there_is_no_delay_and_the_log_what_was_sent_to_it_by_hand(
    server: StartServer, app: str, debug: list[str]
) -> None:
    running = server("--no-delay", *debug, app=app)
    with connect(f"ws://127.0.0.1:{running.port}/", open_timeout=WATCHDOG) as client:
        assert "runs without a delay process (--no-delay)" in str(client.recv(timeout=WATCHDOG))
    running.stop()
    assert "1 message waits on asgi.delay, for which this run had no process" in running.printed()


def test_a_delay_process_that_is_down_for_a_moment_is_no_absence(server: StartServer, app: str) -> None:
    running = server(app=app)
    stop_the_delay_process(running)
    send(running, "while it stood still", 0)
    os.kill(pid_of_delay(running), signal.SIGKILL)
    send(running, "while it was dead", 0)
    running.wait_for_note("while it was dead")
    assert "without-delay" not in os.listdir(segment_path(base_folder(), running.name).parent)
    with ShmChannelLayer.attach(running.name) as layer:
        absence.declare(layer)  # as of a run with --no-delay, beside which a delay process is started
        with pytest.raises(NoDelay):
            send(running, "now", 0)
    os.kill(pid_of_delay(running), signal.SIGKILL)
    wait_for("the note to be gone", lambda: not segment_path(base_folder(), running.name).with_name("without-delay").exists())
    send(running, "after all", 0)
    running.wait_for_note("after all")


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
