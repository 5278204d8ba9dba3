"""
A process killed or stopped at every store into the segment: what ``points.c`` beside this file does, built and run.

In CI a part of the points is taken, another part each time a stride is prime to the number of points; ``make points`` takes all.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "csrc"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
STRIDES = {"kill": ["11"], "reaper": ["3001"], "pair": ["3001", "2890", "7"], "stop": ["211"]}


def build(folder: Path, sources: list[Path], flags: list[str] = FLAGS) -> Path:
    """The harness with its crash points, and a patience of 20 ms for a process that is stopped inside a section."""
    binary = folder / "points"
    patience = ["-DSHMC_POINTS", "-DPATIENCE_NS=20000000ull"]
    subprocess.run(["gcc", *flags, *patience, "-o", binary, *sources], check=True)
    return binary


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert shutil.which("gcc"), "gcc builds the core and this harness; install it"
    return build(tmp_path_factory.mktemp("points"), [HERE / "points.c", *sorted(CORE.glob("*.c"))])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", STRIDES)
def test_whatever_instruction_a_process_dies_at_nothing_is_lost_unseen(points: Path, mode: str) -> None:
    run = subprocess.run([points, mode, *STRIDES[mode]], capture_output=True, text=True, timeout=590, check=False)
    print(run.stdout, run.stderr)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no violation" in run.stdout
