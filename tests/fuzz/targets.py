"""
The fuzz targets written in C: how they are built with clang's libFuzzer, ASan and UBSan, and run.

`segment` damages a segment, `frames` feeds the WebSocket codec. Each is a file beside this one, and has a folder of inputs that
found something, or that cover much, in corpus/.
"""

import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "csrc"
PLAIN = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
CHECKED = [*PLAIN, "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
# Only what is fuzzed steers the search, by its edges: watching every comparison as well halves the rate, and so do libFuzzer's
# statistics of rare features.
FUZZED = [*CHECKED, "-fsanitize-coverage=inline-8bit-counters,pc-table"]
CHEAPER = ["-entropic=0", "-detect_leaks=0"]  # leaks are looked for at the end instead of after each input
ASAN = "quarantine_size_mb=1:malloc_context_size=4:max_malloc_fill_size=0:allocator_release_to_os_interval_ms=-1"
FEW = ["-DSHMC_CHANNELS=128"]  # each run walks the table
# For the core of `segment`, system.h is the system, and is told of each store.
WITHIN = [*FUZZED, *FEW, "-DSHMCHAN_FUZZ_CORE", "-include", str(HERE / "system.h"), "-fsanitize-coverage=trace-stores"]
SOURCES = {
    "segment": [
        (HERE / "system.c", PLAIN),
        (HERE / "segment.c", [*CHECKED, *FEW]),
        *((path, WITHIN) for path in sorted(CORE.glob("*.c"))),
    ],
    "frames": [(HERE / "frames.c", CHECKED), (CORE / "frames" / "wsframe.c", FUZZED)],
}
MAX_LENGTH = {"segment": 200, "frames": 600}


def build(name: str, folder: Path) -> Path:
    """Compile a target into the folder, two compilers at a time."""

    def one(job: tuple[Path, list[str]]) -> Path:
        source, flags = job
        target = folder / f"{name}-{source.parent.name}-{source.stem}.o"
        command = ["clang", *flags, "-c", "-o", str(target), str(source)]
        subprocess.run(command, check=True, timeout=100)
        return target

    with ThreadPoolExecutor(2) as two:
        objects = list(two.map(one, SOURCES[name]))
    binary = folder / name
    subprocess.run(["clang", *CHECKED, "-fsanitize=fuzzer", "-o", binary, *objects], check=True, timeout=100)
    return binary


def run(binary: Path, folder: Path, seconds: int, runs: int = 0, seed: int = 0) -> str:
    """
    Feed a target its corpus, then new inputs.

    Args:
        folder: where new inputs and findings (crash-*, timeout-*) are put.
        seconds: how long; with ``runs`` the most.
        seed: of the new inputs; 0 is another one each time.

    Returns:
        what there is to say: runs, seconds, runs a second, places covered.

    Raises:
        AssertionError: a finding; the text is the sanitizer's.
    """
    found = folder / f"{binary.name}-corpus"
    found.mkdir(exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH[binary.name]}", "-timeout=10", f"-seed={seed}", *CHEAPER]
    options += [f"-runs={runs}"] if runs else []
    corpus = HERE / "corpus" / binary.name
    # On /dev/shm or not, a run that is killed leaves nothing behind but this folder.
    with tempfile.TemporaryDirectory(prefix="shmchan-fuzz-", dir="/dev/shm") as shared:
        done = subprocess.run(
            [binary, *options, f"-artifact_prefix={folder}/", found, corpus],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + 120,
            check=False,
            env={**os.environ, "ASAN_OPTIONS": ASAN, "SHMCHAN_FUZZ_FOLDER": shared},
        )
    assert done.returncode == 0, f"{binary.name} found something, see {folder}:\n{done.stderr[-8000:]}"
    counted = re.search(r"Done (\d+) runs in (\d+) second", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    assert counted, done.stderr[-2000:]
    rate = int(counted[1]) // max(int(counted[2]), 1)
    return f"{counted[1]} runs in {counted[2]} s, {rate} a second, {covered[-1] if covered else 0} edges covered"


def has_libfuzzer() -> bool:
    """Whether clang is here, and its runtime too."""
    if not shutil.which("clang"):
        return False
    empty = "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n && 0; }"
    command = ["clang", "-fsanitize=fuzzer,address", "-x", "c", "-o", "/dev/null", "-"]
    return subprocess.run(command, input=empty, text=True, capture_output=True, check=False).returncode == 0
