"""What any test may use: a free port, and servers that are really started and really stopped."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, StartServer

pytest_plugins = ["shmchan.pytest_plugin"]  # also where shmchan is not installed, so that nothing names it to pytest


@pytest.fixture(scope="session", autouse=True)
def state_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No run of a test keeps its delayed messages where those of this machine's user are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on. Who can, binds port 0 instead and reads what the kernel chose."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StartServer]:
    """
    Starts `shmchan run` as often as it is called; see `Server` for what it takes.

    Those that the test did not stop itself are stopped at its end, and have to leave with exit code 0 and nothing behind.
    """
    running: list[Server] = []

    def start(*options: str, **given: object) -> Server:
        new = Server(tmp_path, *options, **given)  # type: ignore[arg-type]
        running.append(new)
        new.wait_until_started()
        return new

    try:
        yield start
        for one in running:
            if one.process.poll() is None:
                one.stop()
    finally:
        for one in running:
            one.discard()
