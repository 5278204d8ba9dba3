"""
``runserver``'s reload: a process that starts the server again whenever it asks for that.

Owns the exit code by which it asks, and the thread that watches the files of the project, by what Django knows of them. Unlike
Django's own, the server is in the main thread of its process, since it forks and takes signals. Development only.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from django.utils import autoreload

AGAIN = 3  # Django's own choice
TICK = 0.5  # seconds between two looks at the files


def is_watched() -> bool:
    """Whether this process is the server that somebody starts again."""
    return os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true"


def start_again_and_again(arguments: Sequence[str]) -> int:
    """
    Run this command until it ends by itself.

    Args:
        arguments: of this process, as in ``sys.argv``.

    Returns:
        Its exit code.
    """
    child: subprocess.Popen[bytes] | None = None
    asked = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if child is not None and number == signal.SIGTERM:  # Ctrl-C reaches the child by itself
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
    try:
        code = AGAIN
        while code == AGAIN and not asked:
            child = subprocess.Popen([*_interpreter(), *arguments], env=environment, close_fds=False)
            code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if code == AGAIN else code


def _interpreter() -> list[str]:
    return [sys.executable, *(f"-W{option}" for option in sys.warnoptions)]


def _began() -> float:
    """
    When this process began, in seconds of the epoch, 10 ms early at most.

    psutil counts from the whole second in which the machine started, so it may be a second out: what had just changed, which is
    why this process was started, seemed to have changed since. Source: proc(5), /proc/pid/stat, field 22.
    """
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - started)


class _Files(autoreload.StatReloader):  # type: ignore[misc]  # Django has no types
    """The files of everything that this process has imported, and those that Django's apps add: templates, translations."""

    def tick(self) -> Iterator[None]:
        """Look at all of them, again and again. One may have changed while this process began, after it was imported."""
        began = _began()
        known: dict[Any, float] = {}
        while True:
            for path, changed in self.snapshot_files():
                # Of one from the future every start would be another.
                is_new = changed > known[path] if path in known else began < changed <= time.time()
                known[path] = changed
                if is_new:
                    self.notify_file_changed(path)
            time.sleep(TICK)
            yield

    def notify_file_changed(self, path: Any) -> None:
        """Whatever it is, the workers have it in memory."""
        autoreload.trigger_reload(path)


class Watch:
    """
    Looks at files until one changes.

    Args:
        changed: called once then, in a thread.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        self.has_changed = False
        self._changed = changed
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when a file has changed."""
        while not self.has_changed:
            time.sleep(TICK)

    def _run(self) -> None:
        files = _Files()
        autoreload.autoreload_started.send(sender=files)
        try:
            files.run_loop()
        except SystemExit:  # how trigger_reload ends a process, when it is in its main thread
            self.has_changed = True
            self._changed()
