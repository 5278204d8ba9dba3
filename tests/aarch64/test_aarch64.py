"""
The core and the frame codec for aarch64: compiled by Debian's cross compiler, run by qemu-user.

What this shows: no warning, the layout's static assertions, the same behaviour in one process. What it cannot show: recovery
from a death (robust mutexes do not work under qemu-user) and weak memory order. Those need the hardware.
"""

import os
import subprocess
from pathlib import Path

from tests.tools import need

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "csrc"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-static"]


def test_one_process_sees_the_same_on_aarch64(tmp_path: Path) -> None:
    need("aarch64-linux-gnu-gcc", "qemu-aarch64")
    sources = [HERE / "single.c", *sorted(CORE.glob("*.c")), *sorted((CORE / "frames").glob("*.c"))]
    binary, segment = tmp_path / "single", Path(f"/dev/shm/shmchan-aarch64-{os.getpid()}")
    subprocess.run(["aarch64-linux-gnu-gcc", *FLAGS, "-o", binary, *sources], check=True, timeout=100)
    try:
        run = subprocess.run(["qemu-aarch64", binary, segment], capture_output=True, text=True, timeout=100, check=False)
    finally:
        segment.unlink(missing_ok=True)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
