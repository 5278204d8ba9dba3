"""
A server as a user has it: ``shmchan run`` in a process of its own, with a segment and a port of its own.

Whatever it prints goes to a file, which is polled under a watchdog, and shown when something does not come.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
WATCHDOG = 40.0
SEGMENTS = Path(f"/dev/shm/shmchan-{os.getuid()}")

APP = """
import os, time
from shmchan import Channel, Group, route

NOTES = os.environ["NOTES"]

def note(text):
    with open(NOTES, "a") as file:
        file.write(text + "\\n")

def answer(message, content, status=200):
    message.reply_channel.send({"status": status, "headers": [[b"content-type", b"text/plain"]], "content": content.encode()})

def pid(message):
    answer(message, str(os.getpid()))

def slow(message):
    note("slow begins")
    while not os.path.exists(NOTES + ".go"):
        time.sleep(0.01)
    answer(message, "slow is done")

def die(message):
    note("dying")
    os.kill(os.getpid(), 9)

def connect(message):
    Group("all").add(message.reply_channel)
    message.reply_channel.send({"accept": True})
    note("connect " + message["path"])

def receive(message):
    if message.get("text") == "to all":
        Group("all").send({"text": "for all"})
    else:
        message.reply_channel.send({"text": message["text"]})

def disconnect(message):
    note("disconnect " + message["path"] + " " + str(message["code"]))

routing = [
    route("http.request", pid, path=r"/pid$"),
    route("http.request", slow, path=r"/slow$"),
    route("http.request", die, path=r"/die$"),
    route("websocket.connect", connect),
    route("websocket.receive", receive),
    route("websocket.disconnect", disconnect),
]
"""


def wait_for(what: str, condition: Callable[[], object], log: Path | None = None) -> None:
    """Return when a condition holds; fail with its name, and the end of a log, when it does not under the watchdog."""
    deadline = time.monotonic() + WATCHDOG
    while not condition():
        if time.monotonic() > deadline:
            tail = "" if log is None else "\n" + log.read_text()[-4000:]
            pytest.fail(f"waited {WATCHDOG:g} s for this, in vain: {what}{tail}")
        time.sleep(0.01)


def environment(**changes: str) -> dict[str, str]:
    """This process' environment without options for shmchan, but with these changes."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SHMCHAN_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **changes}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "shmchan", *arguments]


def left_behind(name: str) -> list[str]:
    """What there is in /dev/shm of an instance."""
    return [str(path) for path in SEGMENTS.glob(f"*{name}*")]


def is_gone(process: psutil.Process) -> bool:
    """Whether a process is dead; one that init has not waited for yet counts."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Server:
    """
    A running `shmchan run` of the application above.

    Args:
        folder: for the application, its notes and the log; the working directory.
        options: further ones.
        name: of the instance; by default one that nobody else has.
        app: what to run.
        env: changes to the environment.

    Attributes:
        url, port: where it listens, once it has started.
        log: the file with what it prints.
        notes: the file in which consumers note what they do.
    """

    def __init__(
        self, folder: Path, *options: str, name: str | None = None, app: str | None = "app", env: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.name = name or f"test-{os.getpid()}-{time.monotonic_ns()}"
        self.log = folder / f"{self.name}.log"
        self.notes = folder / "notes"
        self.port = 0
        (folder / "app.py").write_text(APP)
        arguments = ["run", *([app] if app else []), "--name", self.name, *options]
        if "--bind" not in options and "--unix" not in options and "SHMCHAN_BIND" not in (env or {}):
            arguments += ["--bind", "127.0.0.1:0"]
        if "--memory" not in options:
            arguments += ["--memory", "32MiB"]
        self.offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command(*arguments),
                cwd=folder,
                env=environment(NOTES=str(self.notes), XDG_STATE_HOME=str(folder / "state"), **(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a process group of its own, to which `press_ctrl_c` is told
            )

    def printed(self) -> str:
        """What this process and its children have printed so far."""
        return self.log.read_bytes()[self.offset :].decode()

    def wait_until_started(self) -> None:
        """Return when the banner is there."""
        wait_for("the banner", lambda: "  stop  " in self.printed() or self.process.poll() is not None, self.log)
        assert self.process.poll() is None, self.printed()
        found = re.search(r"  at    http://\S+:(\d+)\n", self.printed())
        self.port = int(found[1]) if found else 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for_print(self, text: str) -> None:
        wait_for(f"{text!r} in the log", lambda: text in self.printed(), self.log)

    def wait_for_note(self, text: str) -> None:
        wait_for(f"the note {text!r}", lambda: text in self.read_notes(), self.log)

    def read_notes(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def children(self, kind: str) -> dict[int, psutil.Process]:
        """The living processes whose name begins so ("front", "worker"), by pid."""
        return {child.pid: child for child in self._living() if child.name().startswith(f"shm {kind}")}

    def _living(self) -> Iterator[psutil.Process]:
        for child in psutil.Process(self.process.pid).children():
            if not is_gone(child):
                yield child

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """SIGINT for the whole process group, as the terminal does it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def terminate_every_process(self) -> None:
        """SIGTERM for each process, as systemd does it for a service."""
        for process in [psutil.Process(self.process.pid), *self._living()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()

    def wait(self) -> int:
        """Its exit code, once it has one."""
        wait_for("the end of the server", lambda: self.process.poll() is not None, self.log)
        return self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM, code: int = 0) -> None:
        """Stop it, and see that it leaves as it should."""
        self.send_signal(number)
        self.stop_was_asked(code)

    def stop_was_asked(self, code: int = 0) -> None:
        """See that it leaves as it should, after a signal."""
        assert self.wait() == code, self.printed()
        assert left_behind(self.name) == [], self.printed()

    def kill(self) -> None:
        """SIGKILL for everything at once, the supervisor first so that it restarts nobody."""
        children = psutil.Process(self.process.pid).children()
        self.process.kill()
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue  # it went with its supervisor
        self.process.wait()
        wait_for("the end of the children", lambda: all(is_gone(child) for child in children), self.log)

    def discard(self) -> None:
        """End it whatever its state is, and tidy up after it: a failed test must not disturb the next."""
        if self.process.poll() is None:
            self.kill()
        for path in left_behind(self.name):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


class StartServer(Protocol):
    """The type of the fixture `server`."""

    def __call__(
        self, *options: str, name: str | None = None, app: str | None = "app", env: dict[str, str] | None = None
    ) -> Server: ...
