"""
Where an instance keeps what outlives it: sessions, delayed messages, an example's database.

Owns the rule. It never makes a file or a folder. Supervisor, workers and the command line run it.
"""

import os
from pathlib import Path


def state_folder(name: str) -> Path:
    """
    The folder of the instance ``name``, which outlives a restart of the machine; it need not exist.

    ``$XDG_STATE_HOME/shmchan/NAME``; without that variable ``/var/lib/shmchan/NAME`` for root and ``~/.local/state/shmchan/NAME``
    for others. Source: XDG Base Directory Specification.
    """
    state = os.environ.get("XDG_STATE_HOME")
    if state:
        folder = Path(state)
    elif os.geteuid() == 0:
        folder = Path("/var/lib")
    else:
        folder = Path.home() / ".local" / "state"
    return folder / "shmchan" / name
