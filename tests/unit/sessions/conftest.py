"""Every test keeps its sessions in a file of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmchan.sessions import use_sessions
from shmchan.sessions.sqlite import SqliteEngine
from shmchan.sessions.store import Settings, settings


@pytest.fixture(autouse=True)
def _own_sessions(tmp_path: Path) -> Iterator[None]:
    use_sessions(path=tmp_path / "folder" / "sessions.db", max_age=1000)
    engine = settings.engine
    yield
    assert isinstance(engine, SqliteEngine)
    engine.close()
    settings.engine, settings.cookie_name = None, Settings().cookie_name
