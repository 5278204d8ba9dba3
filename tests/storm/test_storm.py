"""
A short storm: processes of every kind killed, stopped and started again at random, and every message accounted for.

What is done and checked stands in ``storm.c`` beside this file; ``make storm`` runs the long one. ``SHMCHAN_SEED`` replays a
seed that was printed.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "csrc"
FLAGS = [
    "-std=gnu11",
    "-D_GNU_SOURCE",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
    "-DSHMC_POINTS",
    "-DPATIENCE_NS=20000000ull",
]
KILLS = 300
SECONDS = 12


@pytest.mark.timeout(240)
def test_a_storm_loses_nothing_unseen(tmp_path: Path) -> None:
    assert shutil.which("gcc"), "gcc builds the core and the storm; install it"
    storm = tmp_path / "storm"
    subprocess.run(["gcc", *FLAGS, "-o", storm, *sorted(HERE.glob("*.c")), *sorted(CORE.glob("*.c"))], check=True)
    seed = os.environ.get("SHMCHAN_SEED", "0")
    with subprocess.Popen(
        [storm, str(KILLS), seed, str(SECONDS)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        try:
            said, _ = run.communicate(timeout=180)
        finally:
            run.kill()  # its processes die with it
            shutil.rmtree(f"/dev/shm/shmchan-storm-{run.pid}", ignore_errors=True)
    print(said)
    assert run.returncode == 0, said
    assert "no violation" in said
