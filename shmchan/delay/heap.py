"""
What waits, on disk: a file of SQLite, ordered by due time.

Owns the file: its schema and version, the lock of its one owner, its transactions, and what its errors mean. It never looks at a
clock and never touches a channel. The delay process runs it, and `shmchan delay` on a file that nobody owns.

Times are microseconds on one of two clocks: WALL, which people set, or STEADY, which they cannot (`shmchan.delay.clock`).
Only what is due soon is kept in the order of its time. The rest lies in slots of 16 s, each in the order in which it came, and is
sorted when its slot is near: so what comes in is written to the ends of a few slots, not all over an index of millions, and one
more costs about the same with a thousand waiting or with ten million.
Handing over is in two steps: `open_batch` writes down which messages are about to go, `settle` what became of them. In between
only the segment knows, and it outlives this process.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from shmchan.delay.checkpoint import Checkpointer
from shmchan.delay.schedule import following
from shmchan.exceptions import HeapBlocked, HeapError

VERSION = 2
APPLICATION = 0x73686D64  # "shmd"; where SQLite notes whose file it is
WALL, STEADY = 0, 1
BATCH = 64
SLOT = 16_000_000
SORTED_AT_ONCE = 5000
BUSY_SECONDS = 2.0
CACHE_KIB = 16384
PAGE_BYTES = 1024  # the index by due time is written all over: a small page is less to write
CHECKPOINT_WORK = 5000
CHECKPOINT_PAGES = 65_536  # where the checkpoints beside the work do not keep up
LARGEST_LOG = 64 << 20
COUNTERS = ("accepted", "fired", "retried", "dead_lettered", "bad", "cancelled", "purged")

_ORDER = """
CREATE TABLE near(clock INTEGER, due INTEGER, n INTEGER, PRIMARY KEY(clock, due, n)) WITHOUT ROWID;
CREATE TABLE far(clock INTEGER, slot INTEGER, n INTEGER, due INTEGER, PRIMARY KEY(clock, slot, n)) WITHOUT ROWID;
"""
_SCHEMA = f"""
CREATE TABLE message(
    n INTEGER PRIMARY KEY,
    id TEXT,
    channel TEXT NOT NULL,
    content BLOB NOT NULL,
    clock INTEGER NOT NULL,
    due INTEGER NOT NULL,           -- microseconds; of the next try
    every,                          -- NULL, seconds, or a cron expression
    tries INTEGER NOT NULL DEFAULT 0,
    first_due INTEGER               -- what due was before the first try that found its channel full
);
{_ORDER}
CREATE UNIQUE INDEX message_id ON message(id) WHERE id IS NOT NULL;
CREATE TABLE batch(bit INTEGER PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE taken(epoch INTEGER PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE answer(number INTEGER PRIMARY KEY, done INTEGER NOT NULL);
CREATE TABLE state(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO state VALUES('batch', 0), ('skew', 0);
{"".join(f"INSERT INTO state VALUES('{name}', 0);" for name in COUNTERS)}
"""

_COLUMNS = ("n", "id", "channel", "content", "clock", "due", "every", "tries", "first_due")
_ROW = ", ".join(_COLUMNS)
MIGRATIONS = {1: f"{_ORDER} INSERT INTO near SELECT clock, due, n FROM message; DROP INDEX message_due;"}
"""What leads from each version to the next one. Version 1 had an index by due time, of all that waits."""

_INSERT = """
INSERT INTO message(n, id, channel, content, clock, due, every) VALUES(?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(id) WHERE id IS NOT NULL DO UPDATE SET n = excluded.n, channel = excluded.channel, content = excluded.content,
    clock = excluded.clock, due = excluded.due, every = excluded.every, tries = 0, first_due = NULL
"""
_DUE = f"""
SELECT near.due, near.n, m.due = near.due AND m.clock = near.clock, {", ".join(f"m.{name}" for name in _COLUMNS)}
FROM near LEFT JOIN message m USING(n) WHERE near.clock = ? AND near.due <= ? ORDER BY near.due, near.n LIMIT ?
"""

NewRow = tuple[str | None, str, bytes, int, int, float | str | None]
"""id, channel, content, clock, due, every."""

Entry = tuple[int, int, int]
"""clock, due, n: by which one is found when it is due."""


class Row(NamedTuple):
    """A message that waits."""

    n: int
    id: str | None
    channel: str
    content: bytes
    clock: int
    due: int
    every: float | str | None
    tries: int
    first_due: int | None


class Heap:
    """
    The file, open.

    Args:
        path: where it is, made with its folder if need be; None keeps everything in memory.
        read_only: only look; the file's owner may go on meanwhile.

    Raises:
        HeapError: it cannot be used; the text says why, and what to do.
    """

    def __init__(self, path: Path | None, read_only: bool = False) -> None:
        self.path = path
        self._lock_fd: int | None = None
        self._synchronous = ""
        self._work = 0
        self._last = 0  # number of the last message
        self._horizons = {WALL: 0, STEADY: 0}  # the last slot that is sorted; nothing is until somebody says what time it is
        self._checkpointer: Checkpointer | None = None
        try:
            if path is not None and not read_only:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._own(path)
            if read_only and path is not None and not path.exists():
                raise HeapError(str(path), "there is no such file", "name the one that `shmchan run` was given (--delay-db)")
            self._db = sqlite3.connect(
                ":memory:" if path is None else path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            self._release()
            raise HeapError(
                str(path), f"it cannot be opened ({error})", "choose another place (--delay-db PATH), or none (--no-delay)"
            ) from error
        try:
            with self._meaning():
                self._prepare(read_only)
        except BaseException:
            self.close()
            raise

    def _own(self, path: Path) -> None:
        """Be its one owner, until this process ends or closes it."""
        self._lock_fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock_fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise HeapError(
                str(path), f"process {owner} uses it", "stop that one, or talk to it by its instance's name (--name)"
            ) from None
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, str(os.getpid()).encode(), 0)

    def _prepare(self, read_only: bool) -> None:
        db = self._db
        if read_only:
            db.execute("PRAGMA query_only = 1")
            if self._version() != VERSION:
                self._refuse_version()
            return
        if self.path is not None:
            os.chmod(self.path, 0o600)
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {LARGEST_LOG}")
        empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not empty and self._version() != VERSION and self._version() not in MIGRATIONS:
            self._refuse_version()
        if empty:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        if empty:
            self._script(f"{_SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};")
        while (version := self._version()) != VERSION:
            self._script(f"{MIGRATIONS[version]} PRAGMA user_version = {version + 1};")
        self._last = int(db.execute("SELECT coalesce(max(n), 0) FROM message").fetchone()[0])

    def _script(self, text: str) -> None:
        """All of it, or nothing."""
        try:
            self._db.executescript(f"BEGIN IMMEDIATE; {text} COMMIT;")
        except sqlite3.Error:
            self._roll_back()
            raise

    def _version(self) -> int:
        ours = self._db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION
        return int(self._db.execute("PRAGMA user_version").fetchone()[0]) if ours else 0

    def _refuse_version(self) -> None:
        version = self._version()
        if not version:
            raise HeapError(str(self.path), "it is a database of something else", "choose another place (--delay-db PATH)")
        raise HeapError(
            str(self.path),
            f"its version is {version}, this shmchan knows {VERSION}",
            "install the newer shmchan, or choose another file (--delay-db PATH)",
        )

    def close(self) -> None:
        """Close the file; another may own it then."""
        if self._checkpointer is not None:
            self._checkpointer.close()
        self._db.close()
        self._release()

    def _release(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- transactions and errors

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[None]:
        """
        All of it, or nothing.

        Args:
            durable: it is on the disk when this ends, and survives a loss of power; else only the death of this process.

        Raises:
            HeapBlocked: there is no room or somebody else holds the file; nothing was changed, try again later.
            HeapError: it cannot be used any more.
        """
        with self._meaning():
            wanted = "FULL" if durable else "NORMAL"
            if wanted != self._synchronous:
                self._db.execute(f"PRAGMA synchronous = {wanted}")
                self._synchronous = wanted
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
        self._work += 1
        if self._work >= CHECKPOINT_WORK and self.path is not None:
            self._work = 0
            if self._checkpointer is None:
                self._checkpointer = Checkpointer(self.path)
            self._checkpointer.ask()

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def _meaning(self) -> Iterator[None]:
        """Make of SQLite's errors what they mean for people."""
        try:
            yield
        except sqlite3.Error as error:
            path, code = str(self.path), getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._is_disk_full()):
                raise HeapBlocked(path, "its disk is full", "make room; nothing that was accepted is lost meanwhile") from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise HeapBlocked(path, "another program holds it locked", "let go of it, whatever that is") from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                step = "put it aside (and what is readable of it: sqlite3 FILE .recover), or restore a copy"
                raise HeapError(path, f"it is damaged ({error})", step) from error
            if code == sqlite3.SQLITE_IOERR:
                raise HeapBlocked(path, f"its disk has errors ({error})", "look at the system's log") from error
            raise HeapError(path, f"it cannot be used ({error})", "look at its place and its rights (--delay-db)") from error

    def _is_disk_full(self) -> bool:
        if self.path is None:
            return False
        room = os.statvfs(self.path.parent)
        return room.f_bavail * room.f_frsize < 1 << 20

    # --- in

    def taken_until(self, epoch: int) -> int:
        """The number of the last message of this segment that is stored."""
        with self._meaning():
            found = self._db.execute("SELECT number FROM taken WHERE epoch = ?", (epoch,)).fetchone()
        return int(found[0]) if found else 0

    def insert(self, rows: Sequence[NewRow]) -> None:
        """Add messages, in place of those with the same id. In a transaction."""
        first = self._last + 1
        self._last += len(rows)
        self._db.executemany(_INSERT, [(n, *row) for n, row in enumerate(rows, first)])
        self._schedule([(row[3], row[4], n) for n, row in enumerate(rows, first)])
        self._work += len(rows) // 20

    def note_taken(self, epoch: int, number: int) -> None:
        """Everything up to this number is stored. In the same transaction."""
        self._db.execute("DELETE FROM taken")  # other segments are long gone
        self._db.execute("INSERT INTO taken VALUES(?, ?)", (epoch, number))

    def note_answer(self, number: int, done: bool) -> None:
        """What was answered to the request with this number, for when it comes again. In the same transaction."""
        self._db.execute("INSERT OR REPLACE INTO answer VALUES(?, ?)", (number, done))

    def answer(self, number: int) -> bool:
        """What was answered before."""
        found = self._db.execute("SELECT done FROM answer WHERE number = ?", (number,)).fetchone()
        return bool(found and found[0])

    def forget_answers(self, number: int) -> None:
        """Answers to requests before this number were given. In the same transaction."""
        self._db.execute("DELETE FROM answer WHERE number < ?", (number,))

    def count(self, **more: int) -> None:
        """Add to counters. In a transaction."""
        for name, number in more.items():
            if number:
                self._db.execute("UPDATE state SET value = value + ? WHERE key = ?", (number, name))

    def _schedule(self, entries: list[Entry]) -> None:
        """Have messages found when they are due."""
        horizons = self._horizons
        far = [(clock, due // SLOT, n, due) for clock, due, n in entries if due // SLOT > horizons[clock]]
        if len(far) < len(entries):
            near = [entry for entry in entries if entry[1] // SLOT <= horizons[entry[0]]]
            self._db.executemany("INSERT OR IGNORE INTO near VALUES(?, ?, ?)", near)
        self._db.executemany("INSERT OR REPLACE INTO far VALUES(?, ?, ?, ?)", far)

    def _unschedule(self, entries: list[Entry]) -> None:
        """Have them found no more. Of one that was replaced an entry stays behind, which is passed over."""
        self._db.executemany("DELETE FROM near WHERE clock = ? AND due = ? AND n = ?", entries)
        slots = [(clock, due // SLOT, n) for clock, due, n in entries]
        self._db.executemany("DELETE FROM far WHERE clock = ? AND slot = ? AND n = ?", slots)

    # --- out

    def next_due(self, clock: int) -> int | None:
        """When there is something to do: the first one is due on this clock, or a slot is to be sorted."""
        with self._meaning():
            near = self._db.execute("SELECT min(due) FROM near WHERE clock = ?", (clock,)).fetchone()[0]
            slot = self._db.execute("SELECT min(slot) FROM far WHERE clock = ?", (clock,)).fetchone()[0]
        found = [int(due) for due in (near, None if slot is None else (slot - 1) * SLOT) if due is not None]
        return min(found, default=None)

    def sort(self, wall: int, steady: int) -> bool:
        """Sort what lies in the slots of now and next, at most SORTED_AT_ONCE; whether there was any."""
        moved = False
        for clock, now in ((WALL, wall), (STEADY, steady)):
            horizon = now // SLOT + 1
            self._horizons[clock] = max(self._horizons[clock], horizon)
            query = "SELECT clock, due, n, slot FROM far WHERE clock = ? AND slot <= ? ORDER BY slot, n LIMIT ?"
            with self._meaning():
                entries = self._db.execute(query, (clock, self._horizons[clock], SORTED_AT_ONCE)).fetchall()
            if entries:
                with self.transaction():
                    self._db.executemany("INSERT OR IGNORE INTO near VALUES(?, ?, ?)", [entry[:3] for entry in entries])
                    gone = [(clock, slot, n) for _, _, n, slot in entries]
                    self._db.executemany("DELETE FROM far WHERE clock = ? AND slot = ? AND n = ?", gone)
                moved = True
        return moved

    def open_batch(self, number: int, wall: int, steady: int) -> list[Row]:
        """
        Write down that those that are due are about to be handed over, at most BATCH; the place in the list is the bit.

        Args:
            number: of the batch; it must not have been used before.
            wall, steady: what the clocks show.
        """
        due: list[Row] = []
        stale: list[Entry] = []
        for clock, now in ((WALL, wall), (STEADY, steady)):
            with self._meaning():
                for when, n, valid, *columns in self._db.execute(_DUE, (clock, now, BATCH)):
                    if valid:
                        due.append(Row(*columns))
                    else:
                        stale.append((clock, when, n))
        late = {WALL: wall, STEADY: steady}
        due = sorted(due, key=lambda row: (row.due - late[row.clock], row.n))[:BATCH]
        if due or stale:
            with self.transaction():
                self._unschedule(stale)
                self._db.execute("UPDATE state SET value = ? WHERE key = 'batch'", (number,))
                self._db.executemany("INSERT INTO batch VALUES(?, ?)", [(bit, row.n) for bit, row in enumerate(due)])
        return due

    def open_batch_number(self) -> int:
        """The number of the batch that is open; 0 if none is."""
        with self._meaning():
            found = self._db.execute("SELECT value FROM state WHERE key = 'batch'").fetchone()
        return int(found[0])

    def settle(self, mask: int, wall: int, steady: int, later: dict[int, int] | None = None, dead: int = 0, bad: int = 0) -> None:
        """
        Write down what became of the open batch.

        Args:
            mask: bits of those that were handed over: they go, or wait for their next time.
            wall, steady: what the clocks show.
            later: others, by their bit, with when they are tried again; who is in neither is due at once.
            dead, bad: masks, part of ``mask``, of those that went to ``shmchan.dead``, and of those that nobody can carry.
        """
        now = {WALL: wall, STEADY: steady}
        query = f"SELECT bit, {_ROW} FROM batch JOIN message USING(n)"
        with self.transaction():
            handled: list[Entry] = []
            gone: list[tuple[int]] = []
            again: list[Entry] = []
            retried: list[Entry] = []
            for bit, *columns in self._db.execute(query).fetchall():
                row = Row(*columns)
                if mask >> bit & 1 or (later and bit in later):
                    handled.append((row.clock, row.due, row.n))
                if mask >> bit & 1:
                    if row.every is None:
                        gone.append((row.n,))
                    else:
                        before = row.due if row.first_due is None else row.first_due
                        again.append((row.clock, following(row.every, before, now[row.clock]), row.n))
                elif later and bit in later:
                    self._db.execute(
                        "UPDATE message SET tries = tries + 1, first_due = coalesce(first_due, due), due = ? WHERE n = ?",
                        (later[bit], row.n),
                    )
                    retried.append((row.clock, later[bit], row.n))
            self._unschedule(handled)
            self._schedule(again + retried)
            self._db.executemany("DELETE FROM message WHERE n = ?", gone)
            times = [(due, n) for _, due, n in again]
            self._db.executemany("UPDATE message SET due = ?, tries = 0, first_due = NULL WHERE n = ?", times)
            self._db.execute("DELETE FROM batch")
            self._db.execute("UPDATE state SET value = 0 WHERE key = 'batch'")
            fired = (mask & ~dead & ~bad).bit_count()
            self.count(fired=fired, retried=len(later or ()), dead_lettered=dead.bit_count(), bad=bad.bit_count())

    # --- by hand

    def cancel(self, ident: str) -> bool:
        """Take one away; ``#12`` names the twelfth, which has no id of its own. In a transaction."""
        column, value = ("n", ident[1:]) if ident.startswith("#") and ident[1:].isdecimal() else ("id", ident)
        entries = self._db.execute(f"SELECT clock, due, n FROM message WHERE {column} = ?", (value,)).fetchall()
        self._forget(entries)
        self.count(cancelled=len(entries))
        return bool(entries)

    def _forget(self, entries: list[Entry]) -> None:
        self._unschedule(entries)
        self._db.executemany("DELETE FROM message WHERE n = ?", [(n,) for _, _, n in entries])

    def purge(self, channel: str | None, limit: int) -> int:
        """Take at most ``limit`` away, of one channel or of all; how many these were. In a transaction."""
        where = "" if channel is None else "WHERE channel = ?"
        given = (limit,) if channel is None else (channel, limit)
        entries = self._db.execute(f"SELECT clock, due, n FROM message {where} LIMIT ?", given).fetchall()
        self._forget(entries)
        self.count(purged=len(entries))
        return len(entries)

    def page(self, channel: str | None, after: int, limit: int) -> list[Row]:
        """At most ``limit`` that wait, in the order in which they came, from the one after ``after`` on."""
        where = "" if channel is None else "AND channel = ?"
        given = (after, limit) if channel is None else (after, channel, limit)
        with self._meaning():
            query = f"SELECT {_ROW} FROM message WHERE n > ? {where} ORDER BY n LIMIT ?"
            return [Row(*row) for row in self._db.execute(query, given)]

    def statistics(self) -> dict[str, int]:
        """What was counted since the file was made, and how many are ``pending``."""
        with self._meaning():
            counted = dict(self._db.execute("SELECT key, value FROM state").fetchall())
            pending = int(self._db.execute("SELECT count(*) FROM message").fetchone()[0])
        return {"pending": pending, **{name: int(counted[name]) for name in COUNTERS}}

    def state(self, key: str) -> int | str | None:
        """A value that was kept; None if it was not."""
        with self._meaning():
            found = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def keep(self, **values: int | str) -> None:
        """Keep values. In a transaction."""
        self._db.executemany("INSERT OR REPLACE INTO state VALUES(?, ?)", list(values.items()))
