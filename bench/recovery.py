"""
What does surviving any death cost? The one-way rate of the layer with its recovery and without, in turns.

``python -m shmchan.bench.recovery [ROUNDS] [COUNT]`` from a checkout. "Without" is the same core built with ``-DSHMC_UNSAFE``: no
undo log and no robust mutexes, so that a death at the wrong moment would wedge everybody. Prints one JSON line and a sentence.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "shmchan"
WITH, WITHOUT = "with", "without"


def unsafe_copy(folder: Path) -> Path:
    """A folder for PYTHONPATH whose ``shmchan`` is this one, but for the core."""
    package = folder / "shmchan"
    package.mkdir()
    for path in PACKAGE.iterdir():
        if not path.name.startswith("_core."):
            (package / path.name).symlink_to(path.resolve())
    built = folder / "built"
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build_ext",
        "--force",
        "--build-lib",
        str(built),
        "--build-temp",
        str(folder / "objects"),
    ]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "CFLAGS": "-DSHMC_UNSAFE"}, check=True, stdout=subprocess.DEVNULL)
    core = next((built / "shmchan").glob("_core.*.so"))
    core.rename(package / core.name)
    return folder


def rate(path: Path, count: int) -> float:
    """Messages a second, one way, of the shmchan that is found first at ``path``."""
    command = [sys.executable, "-m", "shmchan.bench.pair", "shmchan", "one-way", str(count), "0"]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(command, env=environment, cwd=path, check=True, capture_output=True, text=True, timeout=120)
    return float(json.loads(done.stdout)["rate"])


def main(rounds: int = 7, count: int = 200_000) -> None:
    """Measure, in turns; the ratio is that of the medians."""
    with tempfile.TemporaryDirectory() as name:
        places = {WITH: ROOT, WITHOUT: unsafe_copy(Path(name))}
        rates: dict[str, list[float]] = {WITH: [], WITHOUT: []}
        for number in range(rounds):
            for kind in sorted(places, reverse=bool(number % 2)):
                print(f"round {number + 1} of {rounds}, {kind} recovery", file=sys.stderr)
                rates[kind].append(rate(places[kind], count))
    medians = {kind: statistics.median(found) for kind, found in rates.items()}
    ratio = medians[WITH] / medians[WITHOUT]
    print(json.dumps({"benchmark": "recovery", "count": count, "rates": rates, "ratio": ratio}))
    print(f"With recovery {medians[WITH]:,.0f} messages per second, without {medians[WITHOUT]:,.0f}: {ratio:.2f} x.")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
