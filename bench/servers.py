"""
The servers that are put under load: ``shmchan run`` and uvicorn, each as a child with a free port, stopped at the end.

Owns starting, waiting until one answers, counting its memory and stopping it. Runs in the process of ``shmchan bench``.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from shmchan.exceptions import ShmchanError

from .results import SELF

START_SECONDS = 30
STOP_SECONDS = 30
WORKERS = 2
ECHO = "shmchan.examples.echo"


class ServerFailed(ShmchanError):
    """A server did not come up, or not down. The message has the end of what it printed."""


@dataclass(frozen=True)
class Server:
    name: str
    port: int
    process: subprocess.Popen[bytes]

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def unique_memory(self) -> int:
        """Bytes that its processes have each for itself (USS); the segment, and what they still share by fork, is not in it."""
        return sum(process.memory_full_info().uss for process in self.processes())


def commands() -> dict[str, list[str]]:
    """How each server is started; ``{port}`` stands for its port and ``{name}`` for a name that nobody else has."""
    run = ["-m", "shmchan.cli", "run", ECHO, "--workers", str(WORKERS), "--bind", "127.0.0.1:{port}", "--name", "{name}"]
    uvicorn = ["-m", "uvicorn", "shmchan.bench.asgi_echo:app", "--port", "{port}", "--log-level", "warning"]
    return {SELF: [*run, "--no-access-log", "--log-level", "warning", "--no-delay"], "uvicorn": uvicorn}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(name: str) -> Iterator[Server]:
    """
    The server of this name, up and answering; stopped by SIGTERM afterwards.

    Raises:
        ServerFailed: it ended or did not answer within START_SECONDS, or did not end within STOP_SECONDS.
    """
    port = free_port()
    values = {"port": str(port), "name": f"bench-{os.getpid()}-{port}"}
    command = [sys.executable, *(part.format(**values) for part in commands()[name])]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until_up(process, port, command)
            yield Server(name, port, process)
            stop(process, command)
        except ServerFailed as error:
            log.seek(0)
            raise ServerFailed(f"{error}; it printed: {log.read()[-2000:].decode(errors='replace')}") from None
        finally:
            if process.poll() is None:
                end_tree(process)


def wait_until_up(process: subprocess.Popen[bytes], port: int, command: Sequence[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(port):
        if process.poll() is not None:
            raise ServerFailed(f"{' '.join(command)} ended with {process.returncode} before it answered")
        if time.monotonic() > deadline:
            raise ServerFailed(f"{' '.join(command)} did not answer within {START_SECONDS} s")
        time.sleep(0.02)


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[bytes], command: Sequence[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"{' '.join(command)} did not end within {STOP_SECONDS} s of SIGTERM") from None


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """The last resort, after a failure: kill it with all its children."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:  # it was quicker
            continue
    process.wait()
