"""
Where the heap of an instance is, unless somebody says otherwise.

Owns the rule. It never makes a file. The supervisor and the command line run it.
"""

import os
from pathlib import Path


def default_path(name: str) -> Path:
    """A place that outlives a restart of the machine: of root ``/var/lib``, of others their state folder (XDG)."""
    state = os.environ.get("XDG_STATE_HOME")
    if state:
        folder = Path(state)
    elif os.getuid() == 0:
        folder = Path("/var/lib")
    else:
        folder = Path(os.path.expanduser("~")) / ".local" / "state"
    return folder / "shmchan" / name / "delay.db"
