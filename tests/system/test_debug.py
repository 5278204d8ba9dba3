"""`shmchan run --debug`: one process, in memory, at a terminal; breakpoints work."""

import contextlib
import http.client
import os
import pty
import re
import signal
import subprocess
import threading
from pathlib import Path

import psutil

from tests.servers import WATCHDOG, command, environment, wait_for

APP = """
from shmchan import route

def stop_here(message):
    answer = 41
    breakpoint()
    message.reply_channel.send({"status": 200, "content": str(answer).encode()})

async def later(message):
    message.reply_channel.send({"status": 200, "content": b"later"})

routing = [route("http.request", stop_here, path="/stop"), route("http.request", later, timeout=5)]
"""


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_breakpoint_in_a_consumer_has_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    terminal, inside = pty.openpty()
    name = f"debug-{os.getpid()}"
    process = subprocess.Popen(
        command("run", "app", "--debug", "--bind", "127.0.0.1:0", "--name", name),
        cwd=tmp_path,
        env=environment(TERM="dumb"),
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while data := os.read(terminal, 65536):
                shown.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        wait_for("the banner", lambda: b"  stop  " in shown or process.poll() is not None)
        assert b"everything in this process" in shown, shown.decode()
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", shown)
        assert found is not None
        port = int(found[1])
        assert psutil.Process(process.pid).children() == []
        assert get(port, "/") == b"later"

        answers: list[bytes] = []
        client = threading.Thread(target=lambda: answers.append(get(port, "/stop")))
        client.start()
        wait_for("the prompt", lambda: b"(Pdb)" in shown)
        os.write(terminal, b"answer = 42\n")
        wait_for("the next prompt", lambda: shown.count(b"(Pdb)") > 1)
        os.write(terminal, b"c\n")
        client.join(WATCHDOG)
        assert answers == [b"42"]

        process.send_signal(signal.SIGINT)
        assert process.wait(WATCHDOG) == 0, shown.decode()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(WATCHDOG)
        os.close(terminal)
