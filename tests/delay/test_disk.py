"""
A disk that is full in the middle of a batch: a small file system of the test's own, which takes root.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shmchan import delay
from shmchan.delay.heap import Heap
from shmchan.delay.service import Service
from shmchan.exceptions import ChannelFull
from shmchan.layers.delay_port import ShmDelayPort
from shmchan.layers.shm import ShmChannelLayer

WATCHDOG = 60.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k,mode=700", "shmchan-test", str(folder)]
    run = subprocess.run(mount, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {run.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def wait_for(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WATCHDOG
    while not condition():
        assert time.monotonic() < deadline, f"waited {WATCHDOG:g} s for {what}, in vain"
        time.sleep(0.005)


def test_while_the_disk_is_full_senders_are_told_and_nothing_accepted_is_lost(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ShmChannelLayer(f"disk-{os.getpid()}", memory=32 << 20, channel_capacity={"asgi.delay": 300}) as layer:
        port = ShmDelayPort(layer)
        with Heap(small_disk / "delay.db") as heap:
            service = Service(heap, port)
            service.start()
            thread = threading.Thread(target=service.run)
            thread.start()
            try:
                accepted: list[int] = []

                def fill() -> bool:
                    """Send on until the channel is full and stays so."""
                    try:
                        delay.send("a", {"n": len(accepted), "text": "x" * 500}, delay=1e9, channel_layer=layer)
                    except ChannelFull:
                        return "its disk is full" in caplog.text
                    accepted.append(len(accepted))
                    return False

                wait_for("the disk and the channel to be full", fill)
                assert len(accepted) > 300
                subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
                wait_for("it to go on", lambda: not layer.channel_statistics("asgi.delay")["messages_pending"])
                found = delay.pending(channel_layer=layer, timeout=WATCHDOG)
                assert [one.content["n"] for one in found if one.content] == accepted
                delay.send("a", {"n": "now"}, delay=0, channel_layer=layer)
                assert layer.receive(["a"], block=True, timeout=WATCHDOG)[1] == {"n": "now"}
            finally:
                service.stop()
                thread.join(WATCHDOG)
                service.close()
                port.close()
