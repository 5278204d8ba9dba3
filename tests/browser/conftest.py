"""Two windows for all tests here, as each takes seconds to open, and a chat server that a test may stop and start again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.servers import ChatServer
from tests.browser.windows import Window, open_window, require_chromium


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Window, Window]]:
    with open_window(tmp_path_factory.mktemp("ada")) as first, open_window(tmp_path_factory.mktemp("grace")) as second:
        yield first, second


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChatServer]:
    require_chromium()
    server = ChatServer(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()
