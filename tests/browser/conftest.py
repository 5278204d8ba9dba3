"""Two windows for all tests here, as each takes seconds to open, and a chat server that a test may stop and start again."""

from collections.abc import Iterator

import pytest

from tests.browser.windows import Window, open_window, require_chromium
from tests.servers import StartServer


class Chat:
    """
    ``shmchan run examples.chat`` with two workers, which keeps its address over a stop and a start.

    Attributes:
        url: of the page.
    """

    def __init__(self, start_server: StartServer) -> None:
        self.start_server = start_server
        self.running = start_server("--workers", "2", app="examples.chat")
        self.url = f"{self.running.url}/"

    def stop(self) -> None:
        self.running.stop()

    def kill(self) -> None:
        """SIGKILL for all its processes: nobody says goodbye, and the segment is left behind for the next."""
        self.running.kill()

    def start(self) -> None:
        bind, name = f"127.0.0.1:{self.running.port}", self.running.name
        self.running = self.start_server("--workers", "2", "--bind", bind, name=name, app="examples.chat")


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Window, Window]]:
    with open_window(tmp_path_factory.mktemp("ada")) as first, open_window(tmp_path_factory.mktemp("grace")) as second:
        yield first, second


@pytest.fixture
def chat(server: StartServer) -> Chat:
    require_chromium()
    return Chat(server)
