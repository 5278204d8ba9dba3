"""The first application of the README does what the README says."""

import re
import subprocess
import sys
from pathlib import Path

from websockets.sync.client import connect

from tests.servers import ROOT, WATCHDOG, StartServer, environment

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_whatever_one_sends_all_receive_and_another_process_may_send_too(server: StartServer, tmp_path: Path) -> None:
    application, elsewhere = BLOCKS
    assert application.startswith("# chatter.py\n")
    (tmp_path / "chatter.py").write_text(application)
    running = server("--workers", "2", app="chatter")
    url = f"ws://127.0.0.1:{running.port}/chat"
    with (
        connect(f"{url}/lobby", open_timeout=WATCHDOG) as ada,
        connect(f"{url}/lobby", open_timeout=WATCHDOG) as grace,
        connect(f"{url}/cellar", open_timeout=WATCHDOG) as alone,
    ):
        ada.send("Hello, all")
        assert ada.recv(timeout=WATCHDOG) == "Hello, all"
        assert grace.recv(timeout=WATCHDOG) == "Hello, all"
        done = subprocess.run(
            [sys.executable, "-c", elsewhere], env=environment(SHMCHAN_NAME=running.name), timeout=WATCHDOG, check=False
        )
        assert done.returncode == 0
        assert grace.recv(timeout=WATCHDOG) == "The server says hello"
        alone.send("Anybody?")
        assert alone.recv(timeout=WATCHDOG) == "Anybody?"
    running.stop()
