"""The file: who owns it, what is wrong with it, and that a reader does not disturb."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from shmchan.delay import heap as module
from shmchan.delay.heap import STEADY, VERSION, WALL, Heap
from shmchan.exceptions import HeapBlocked, HeapError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "delay.db"


ROOT = Path(__file__).resolve().parents[3]


def add(heap: Heap, *dues: int, clock: int = STEADY) -> None:
    with heap.transaction(durable=True):
        heap.insert([(None, "a", b"\x80", clock, due, None) for due in dues])


def test_it_is_made_with_its_folder_and_readable_by_its_user_alone(path: Path) -> None:
    with Heap(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_was_stored_is_there_when_it_is_opened_again(path: Path) -> None:
    with Heap(path) as heap:
        add(heap, 3, 1, 2)
    with Heap(path) as heap:
        assert [row.due for row in heap.open_batch(7, 0, 2)] == [1, 2]
        assert heap.next_due(STEADY) == 1
        assert heap.next_due(WALL) is None


def test_it_has_one_owner(path: Path) -> None:
    with Heap(path):
        with pytest.raises(HeapError, match=f"process {os.getpid()} uses it"):
            Heap(path)
        with Heap(path, read_only=True) as other:
            assert other.statistics()["pending"] == 0
    with Heap(path):
        pass


def test_an_owner_that_is_killed_owns_it_no_more(path: Path) -> None:
    code = f"from pathlib import Path; from shmchan.delay.heap import Heap; heap = Heap(Path({str(path)!r})); "
    run = subprocess.run(
        [sys.executable, "-c", code + "import os; os.kill(os.getpid(), 9)"],
        check=False,
        timeout=60,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert run.returncode == -9
    with Heap(path) as heap:
        assert heap.statistics()["pending"] == 0


def test_what_was_not_committed_is_not_there(path: Path) -> None:
    with Heap(path) as heap:
        with contextlib.suppress(RuntimeError), heap.transaction():
            heap.insert([(None, "a", b"\x80", STEADY, 1, None)])
            raise RuntimeError
        assert heap.statistics()["pending"] == 0
        add(heap, 1)
        assert heap.statistics()["pending"] == 1


def test_a_newer_version_is_not_touched(path: Path) -> None:
    Heap(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    for read_only in (False, True):
        with pytest.raises(HeapError, match=f"its version is {VERSION + 1}, this shmchan knows {VERSION}"):
            Heap(path, read_only)


def test_an_older_version_is_migrated_with_what_is_in_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Heap(path) as heap:
        add(heap, 1, 2)
    monkeypatch.setattr(module, "VERSION", VERSION + 1)
    monkeypatch.setitem(module.MIGRATIONS, VERSION, "ALTER TABLE message ADD COLUMN colour; UPDATE message SET colour = 'red';")
    with Heap(path) as heap:
        assert heap._db.execute("SELECT due, colour FROM message").fetchall() == [(1, "red"), (2, "red")]
        assert heap._db.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)


def test_a_file_of_version_1_is_migrated(path: Path) -> None:
    with Heap(path) as heap:
        add(heap, 3, 10**9)
    with sqlite3.connect(path) as db:
        db.executescript(
            "DROP TABLE near; DROP TABLE far; CREATE INDEX message_due ON message(clock, due); PRAGMA user_version = 1"
        )
    db.close()
    with Heap(path) as heap:
        assert [row.due for row in heap.open_batch(7, 0, 2 * 10**9)] == [3, 10**9]


def test_a_migration_that_fails_leaves_it_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Heap(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", VERSION + 1)
        patch.setitem(module.MIGRATIONS, VERSION, "ALTER TABLE message ADD COLUMN colour; SELECT * FROM nothing;")
        with pytest.raises(HeapError, match="it cannot be used"):
            Heap(path)
    with Heap(path) as heap:
        add(heap, 1)


def test_a_database_of_something_else_is_not_touched(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine(x)")
    db.close()
    with pytest.raises(HeapError, match="of something else"):
        Heap(path)


def test_what_is_no_database_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(os.urandom(10000))
    before = path.read_bytes()
    with pytest.raises(HeapError, match="it is damaged"):
        Heap(path)
    assert path.read_bytes() == before


def read_all(path: Path) -> None:
    with Heap(path) as heap:
        heap.statistics()
        heap.open_batch(1, 10**6, 10**6)
        heap.page(None, 0, 10000)


def test_a_damaged_page_is_told(path: Path) -> None:
    with Heap(path) as heap:
        add(heap, *range(5000))
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(HeapError, match="it is damaged"):
        read_all(path)


def test_one_that_somebody_holds_locked_is_blocked_and_goes_on_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    with Heap(path) as heap:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HeapBlocked, match="holds it locked"):
            add(heap, 1)
        other.execute("ROLLBACK")
        other.close()
        add(heap, 1)


def test_no_file_is_made_by_looking(path: Path) -> None:
    with pytest.raises(HeapError, match="there is no such file"):
        Heap(path, read_only=True)
    assert not path.parent.exists()


def test_a_place_that_cannot_be_is_told() -> None:
    with pytest.raises(HeapError, match="it cannot be opened"):
        Heap(Path("/proc/nowhere/delay.db"))


def test_a_reader_changes_nothing(path: Path) -> None:
    with Heap(path) as heap:
        add(heap, 1)
        with Heap(path, read_only=True) as reader:
            with pytest.raises(HeapError), reader.transaction():
                reader.purge(None, 10)
            assert [row.due for row in reader.page(None, 0, 10)] == [1]
