"""The layer's conformance suite and the frame codec's tests again, over extension modules built with ASan and UBSan."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import need

ROOT = Path(__file__).resolve().parents[2]
SUITES = ["tests/conformance/layers", "tests/unit/protocol/test_frames.py"]
# In CI leases and groups in shared memory (the codec is fuzzed under both sanitizers); `make sanitize` runs all.
SOME = ["-k", "shm and (test_layer_leases or test_layer_groups)"]


@pytest.mark.timeout(300)
def test_asan_and_ubsan_are_silent_below_the_conformance_suite(tmp_path: Path) -> None:
    need("gcc")
    here = tmp_path / "checkout"
    here.mkdir()
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "_core.c", "_frames.c")
    for folder in ("shmchan", "csrc", "tests", "examples", "cli", "bench"):
        shutil.copytree(ROOT / folder, here / folder, ignore=ignored, symlinks=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, here)
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -O1"
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j2"]
    environment = {**os.environ, "CFLAGS": flags, "LDFLAGS": flags}
    subprocess.run(build, cwd=here, env=environment, check=True, capture_output=True, timeout=200)
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # CPython keeps much until the end
        "PYTHONPATH": str(here),
        "PYTHONMALLOC": "malloc",
    }
    where = "import shmchan._core as core, shmchan._frames as frames; print(core.__file__, frames.__file__)"
    loaded = subprocess.run(
        [sys.executable, "-c", where], cwd=here, env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    assert all(path.startswith(str(here)) for path in loaded), f"not the sanitized modules: {loaded}"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *SUITES,
        *([] if os.environ.get("SHMCHAN_SANITIZE") else SOME),
    ]
    run = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=250, check=False)
    print(run.stdout[-500:])
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-6000:]
    assert "runtime error" not in run.stderr + run.stdout
