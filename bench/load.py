"""
The load generator: wsload.c, compiled when it is first needed, and what it says of a run.

The program goes beside its source where that can be written (a checkout), else to the user's cache. Needs gcc. Runs in the
process of ``shmchan bench``.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from shmchan.exceptions import ShmchanError

from .results import Round

SOURCE = Path(__file__).resolve().parent / "wsload.c"
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
GRACE_SECONDS = 60


class LoadFailed(ShmchanError):
    """The load generator could not be built, or a run of it ended early."""


def missing() -> str | None:
    """Why no load can be made here."""
    return "needs gcc (apt-get install gcc libc6-dev)" if shutil.which("gcc") is None else None


def wsload() -> Path:
    """
    The compiled program, built when it is older than its source.

    Raises:
        LoadFailed: the compiler failed; its output is in the message.
    """
    folder = SOURCE.parent
    if not os.access(folder, os.W_OK):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shmchan"
        folder.mkdir(parents=True, exist_ok=True)
    program = folder / "wsload"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / "wsload"
            compiler = subprocess.run(["gcc", *FLAGS, "-o", str(built), str(SOURCE)], capture_output=True, text=True, check=False)
            if compiler.returncode:
                raise LoadFailed(f"gcc could not build {SOURCE}: {compiler.stderr}")
            built.rename(program)
    return program


def run(port: int, *, connections: int, depth: int, seconds: float, mode: str = "order", path: str = "/") -> Round:
    """
    Put a server on 127.0.0.1 under load for so many seconds.

    Args:
        depth: how many frames each connection keeps in flight.
        mode: ``order``, ``echo``, ``bcast`` or ``idle``; see wsload.c.

    Raises:
        LoadFailed: refused, no answer, a connection lost; frames lost, doubled or out of order are told in the result.
    """
    options = {"-p": port, "-c": connections, "-d": depth, "-t": seconds, "-m": mode, "-P": path}
    command = [str(wsload()), *(str(part) for option in options.items() for part in option)]
    try:
        load = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{' '.join(command)} did not end; is the server stuck?") from None
    if not load.stdout:
        raise LoadFailed(f"{' '.join(command)} ended with {load.returncode}: {load.stderr.strip()}")
    said = json.loads(load.stdout)
    if said["errors"]:
        raise LoadFailed(f"{' '.join(command)} met {said['errors']} errors: {load.stderr.strip()} {load.stdout.strip()}")
    return Round(
        rate=said["per_s"],
        latency_us={name: said[name] for name in ("p50_us", "p99_us", "p999_us")},
        lost=said["lost"],
        duplicated=said["duplicated"],
        misordered=said["misordered"],
    )
