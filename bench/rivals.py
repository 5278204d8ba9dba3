"""
Who takes part besides shmchan, if it is installed.

Owns which package each rival needs; all of them are in the extra ``bench`` of pyproject.toml. Runs in the process of
``shmchan bench``.
"""

import importlib.util

from . import delay

PIPE, FIFO, UVICORN = "Pipe + msgspec", "faster-fifo", "uvicorn"

NEEDS = {PIPE: ("msgspec",), FIFO: ("faster_fifo",), delay.HUEY: ("huey",), UVICORN: ("uvicorn", "websockets")}
"""The modules that each needs; without a package that speaks WebSockets uvicorn serves HTTP alone."""


def missing(subject: str) -> str | None:
    """Why it cannot be measured here; None if it can, or is no rival."""
    for module in NEEDS.get(subject, ()):
        if importlib.util.find_spec(module) is None:
            return f"{module.replace('_', '-')} is not installed (pip install 'shmchan[bench]')"
    return None
