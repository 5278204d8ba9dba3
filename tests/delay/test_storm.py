"""
A short storm over the delay process; `make delay-storm` is the long one.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_killed_at_random_and_at_each_step_nothing_is_lost_doubled_or_early() -> None:
    command = [sys.executable, "-m", "tests.delay.storm", "24", "3000"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, cwd=ROOT)
    print(run.stdout, run.stderr)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no violation" in run.stdout
