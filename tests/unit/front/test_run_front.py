"""The front as the supervisor starts it: a process of its own that ends by a signal."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from .harness import WATCHDOG, Client

CHILD = """
import socket, sys, threading
from shmchan.front import FrontConfig, run_front
from shmchan.layers.base import Outbox
from shmchan.layers.memory import InMemoryChannelLayer

layer = InMemoryChannelLayer()
listener = socket.create_server(("127.0.0.1", 0))

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
