"""The front as the supervisor starts it: a process of its own that ends by a signal."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import wait_for

from .harness import WATCHDOG, Client

CHILD = """
import logging, resource, socket, sys, threading
from shmchan.front import FrontConfig, run_front
from shmchan.layers.base import Outbox
from shmchan.layers.memory import InMemoryChannelLayer

layer = InMemoryChannelLayer()
listener = socket.create_server(("127.0.0.1", 0))

if len(sys.argv) > 1:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
logging.basicConfig(level="WARNING")

def work():
    while True:
        lease = layer.lease(["websocket.connect", "websocket.receive", "websocket.disconnect"], 5.0)
        if lease is not None:
            outbox = Outbox()
            if lease.channel == "websocket.connect":
                outbox.channel(lease.content["reply_channel"], layer.encode({"accept": True}))
            layer.commit(lease, outbox)

threading.Thread(target=work, daemon=True).start()
sys.exit(run_front(layer, [listener], FrontConfig(), ready=lambda: print(listener.getsockname()[1], flush=True)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_front_when_its_clients_are_done(number: signal.Signals) -> None:

    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, env={**os.environ, "PYTHONWARNINGS": "error"}
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), WATCHDOG) as connected:
            client = Client(connected)
            client.upgrade()
            client.opened()
            process.send_signal(number)
            assert client.close_code() == 1012
            client.close(1012)
        assert process.wait(WATCHDOG) == 0
    finally:
        process.kill()
        process.wait(WATCHDOG)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[tuple[int, psutil.Process, Path]]:
    """A front that may have 64 files open if it asks for it, and 40 otherwise: its port, its process and its log."""
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", CHILD, "40", "64"], stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), psutil.Process(process.pid), log
        process.terminate()
        assert process.wait(WATCHDOG) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(WATCHDOG)
        if process.stdout is not None:
            process.stdout.close()


def test_a_front_takes_all_the_descriptors_it_may_have(limited: tuple[int, psutil.Process, Path]) -> None:
    assert limited[1].rlimit(psutil.RLIMIT_NOFILE) == (64, 64)


def test_clients_for_whom_no_descriptor_is_left_wait_until_others_go_and_that_is_said(
    limited: tuple[int, psutil.Process, Path],
) -> None:
    port, process, log = limited
    with contextlib.ExitStack() as stack:
        clients = [Client(stack.enter_context(socket.create_connection(("127.0.0.1", port), WATCHDOG))) for _ in range(100)]
        for client in clients:
            client.upgrade()
        wait_for("the warning", lambda: "no more connections are accepted for now" in log.read_text())
        assert "this process may have 64 files open" in log.read_text()
        assert "LimitNOFILE" in log.read_text()
        assert process.num_fds() < 64  # some are left for what else there is to open
        for client in clients:
            client.opened()
            client.close()
