"""Commands on a running instance: one more worker, a message, a group."""

import http.client
import subprocess
from pathlib import Path

import pytest

from tests.servers import WATCHDOG, Server, StartServer, command, environment, wait_for

MORE = """
import os
from shmchan import Channel, route

def job(message):
    with open(os.environ["NOTES"], "a") as file:
        file.write("job " + str(message["n"]) + " " + str(os.getpid()) + "\\n")

routing = [route(["job.a", "job.b"], job)]
"""


def shmchan(running: Server, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, "--name", running.name),
        cwd=running.folder,
        env=environment(NOTES=str(running.notes)),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )


def told(running: Server, *arguments: str, stdin: str = "") -> str:
    """What a command prints that does what it should."""
    done = shmchan(running, *arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_worker_joins_consumes_and_leaves(tmp_path: Path, server: StartServer) -> None:
    running = server("--workers", "1")
    (tmp_path / "more.py").write_text(MORE)
    said = tmp_path / "more.log"
    with said.open("w") as log:
        more = subprocess.Popen(
            command("worker", "more", "--name", running.name, "--only-channels", "job.*", "--exclude-channels", "*.b"),
            cwd=tmp_path,
            env=environment(NOTES=str(running.notes)),
            stdout=log,
            stderr=log,
        )
    try:
        wait_for("the worker", lambda: "one more worker for more" in said.read_text(), said)
        told(running, "send", "job.b", '{"n": 0}')
        told(running, "send", "job.a", '{"n": 1}')
        told(running, "send", "job.a", "-", stdin='{"n": 2}')
        running.wait_for_note(f"job 1 {more.pid}")
        running.wait_for_note(f"job 2 {more.pid}")
        assert not [note for note in running.read_notes() if note.startswith("job 0")]
        more.terminate()
        assert more.wait(WATCHDOG) == 0
    finally:
        if more.poll() is None:
            more.kill()
            more.wait()
    running.stop()


def test_a_worker_leaves_when_its_instance_has_ended(tmp_path: Path, server: StartServer) -> None:
    running = server("--workers", "1")
    (tmp_path / "more.py").write_text(MORE)
    said = tmp_path / "more.log"
    with said.open("w") as log:
        more = subprocess.Popen(
            command("worker", "more", "--name", running.name), cwd=tmp_path, env=environment(), stdout=log, stderr=log
        )
    try:
        wait_for("the worker", lambda: "one more worker for more" in said.read_text(), said)
        running.send_signal(15)  # type: ignore[arg-type]
        assert running.wait() == 0
        assert more.wait(WATCHDOG) == 0
        assert "has ended, and so does this worker" in said.read_text()
    finally:
        if more.poll() is None:
            more.kill()
            more.wait()
    running.stop_was_asked()


def test_groups_from_a_shell(server: StartServer) -> None:
    running = server("--workers", "1")
    empty = shmchan(running, "group", "g")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "nobody is in the group g\n")
    for channel in ("job.b", "job.a"):
        told(running, "group", "g", "add", channel)
    assert told(running, "group", "g", "list") == "job.a\njob.b\n"
    told(running, "group", "g", "discard", "job.a")
    assert told(running, "group", "g") == "job.b\n"
    told(running, "group", "g", "send", '{"n": 1}')
    stats = told(running, "stats")
    assert "job.b" in stats
    running.stop()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["send", "job", "hello"], "is no JSON"),
        (["send", "job", "[1]"], "is a JSON object"),
        (["send", "no name!!", "{}"], "no name!!"),
        (["group", "g", "add"], "add takes one argument"),
        (["group", "g", "list", "more"], "list takes no argument"),
        (["group", "g", "explode"], "explode"),
        (["send", "job", "{}"], "no shmchan instance"),
    ],
)
def test_what_a_person_gets_wrong_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = subprocess.run(
        command(*arguments, "--name", "nobody-here"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr or "no shmchan instance" in done.stderr


def get(running: Server, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_nothreading_is_one_worker_with_one_thread_and_contradictions_are_refused(server: StartServer) -> None:
    running = server("--nothreading")
    assert len(running.children("worker")) == 1
    assert get(running, "/pid").isdigit()
    running.stop()
    for options in (["--nothreading", "--workers", "3"], ["--debug", "--threads", "2"]):
        done = shmchan(running, "run", "app", *options)
        assert done.returncode == 2
        assert "contradict each other" in done.stderr


def test_threads_consume_at_the_same_time(server: StartServer) -> None:
    running = server("--workers", "1", "--threads", "2")
    slow = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    slow.request("GET", "/slow")
    running.wait_for_note("slow begins")
    assert get(running, "/pid").isdigit()
    Path(f"{running.notes}.go").touch()
    assert slow.getresponse().read() == b"slow is done"
    slow.close()
    running.stop()
