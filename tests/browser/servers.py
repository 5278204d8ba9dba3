"""The chat as ``shmchan run`` serves it: real processes on a free port, which keep the port over a stop and a start."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WATCHDOG = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ChatServer:
    """
    ``shmchan run examples.chat`` with two workers.

    Attributes:
        url: of the page.
        log: the file with all it printed, also before a restart.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.name = f"browser-{os.getpid()}-{self.port}"
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        bind = f"127.0.0.1:{self.port}"
        command = [
            sys.executable,
            "-m",
            "shmchan.cli",
            "run",
            "examples.chat",
            "--bind",
            bind,
            "--workers",
            "2",
            "--name",
            self.name,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, "--memory", "32MiB"], cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + WATCHDOG
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the chat server does not answer (exit code {self.process.poll()}):\n{self.log.read_text()}")
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self) -> None:
        """SIGTERM, and the exit code is checked. Stopping twice is harmless."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(WATCHDOG)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"the chat server did not end within {WATCHDOG:.0f} s of SIGTERM:\n{self.log.read_text()}")
        assert code == 0, f"the chat server ended with {code}:\n{self.log.read_text()}"
