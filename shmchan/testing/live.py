"""
A real server for a test: ``shmchan run`` in processes of its own, on a free port, in a segment of its own.

Owns those processes, and this process's attachment to their segment. Test processes run it.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

from shmchan.asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from shmchan.exceptions import ShmchanError
from shmchan.layers.shm import ShmChannelLayer

START_SECONDS = 60.0
STOP_SECONDS = 30.0
_numbers = itertools.count(1)


class LiveServerFailed(ShmchanError):
    """The server did not start, or not stop; the message has what it printed."""


class LiveServer:
    """
    One run of an application, as a context. Meanwhile `Channel` and `Group` in this process talk to it.

    Args:
        app: ``module[:attribute]``, as on the command line.
        options: further ones, such as ``"--static", "/static=pages"``.
        workers: processes that run consumers.
        app_dir: folder that the application is imported from.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        ws_url: ``ws://127.0.0.1:PORT``.
        name: of the instance.
        layer: this process's attachment to its segment.

    Raises:
        LiveServerFailed: on entering: it did not start; on leaving: it had to be killed, or left with another code than 0.
    """

    url: str
    ws_url: str
    layer: ShmChannelLayer

    def __init__(self, app: str, *options: str, workers: int = 1, app_dir: str | Path = ".") -> None:
        self.app = app
        self.options = options
        self.workers = workers
        self.app_dir = app_dir
        self.name = f"live-{os.getpid()}-{next(_numbers)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._log = stack.enter_context(tempfile.NamedTemporaryFile(prefix="shmchan-"))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="shmchan-"))
            command = [sys.executable, "-m", "shmchan", "run", self.app, "--name", self.name, "--bind", "127.0.0.1:0"]
            command += ["--delay-db", f"{folder}/delay.db"]
            command += ["--workers", str(self.workers), "--memory", "32MiB", "--app-dir", str(self.app_dir), *self.options]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
            stack.callback(self._stop)
            self._wait_until_started()
            self.layer = stack.enter_context(ShmChannelLayer.attach(self.name))
            before = channel_layers.set(DEFAULT_CHANNEL_LAYER, self.layer)
            stack.callback(channel_layers.set, DEFAULT_CHANNEL_LAYER, before)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def log(self) -> str:
        """What it has printed so far."""
        return "" if self._log is None else Path(self._log.name).read_text(errors="replace")

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        assert self._process is not None
        while "  stop  " not in self.log():
            if self._process.poll() is not None:
                raise LiveServerFailed(f"the server of {self.app} did not start: {self.log().strip()}")
            if time.monotonic() > deadline:
                raise LiveServerFailed(f"the server of {self.app} did not start in {START_SECONDS:g} s: {self.log().strip()}")
            time.sleep(0.01)
        found = re.search(r"  at    http://(\S+)\n", self.log())
        if found is None:
            raise LiveServerFailed(f"the server of {self.app} listens on no port: {self.log().strip()}")
        self.url, self.ws_url = f"http://{found[1]}", f"ws://{found[1]}"

    def _stop(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise LiveServerFailed(f"the server of {self.app} did not stop: {self.log().strip()}") from None
        if code:
            raise LiveServerFailed(f"the server of {self.app} left with code {code}: {self.log().strip()}")
