"""
Carrying what SQLite has logged into the file, beside the work and not in it.

Owns a thread and a connection of its own. A checkpoint waits for the disk twice, tens of milliseconds each; in the thread that
hands messages over, they would all be late by that. It never changes what is stored. The delay process runs it.
"""

import logging
import sqlite3
import threading
from pathlib import Path

log = logging.getLogger("shmchan.delay")


class Checkpointer:
    """
    A thread that makes a checkpoint whenever it is asked to.

    Args:
        path: the heap's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked = threading.Condition()
        self._wanted = self._closing = False
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Make one soon."""
        with self._asked:
            self._wanted = True
            self._asked.notify()

    def close(self) -> None:
        """Finish the one that is being made, and end."""
        with self._asked:
            self._closing = True
            self._asked.notify()
        self._thread.join()

    def _run(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None)
        while True:
            with self._asked:
                self._asked.wait_for(lambda: self._wanted or self._closing)
                if self._closing:
                    break
                self._wanted = False
            try:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:  # who stores something will find the same, and say so
                log.debug("no checkpoint of %s now: %s", self._path, error)
        db.close()
