"""
The core under the sanitizers of gcc: threads under TSan, and what kills processes under ASan and UBSan.

TSan has to be silent, and has to speak when a lock is left out: otherwise its silence would mean nothing.
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.tools import need

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "csrc"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
TSAN = ["-fsanitize=thread"]
THROUGH_HARNESS = ["-Dmmap=one_mmap", "-Dmunmap=one_munmap", "-Dpthread_mutex_clocklock=one_clocklock"]
ASAN = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
SECONDS = os.environ.get("SHMCHAN_TSAN_SECONDS", "2")

# What is left out of a file: (file, text, what stands there instead).
MUTATIONS = {
    "nothing is locked": ("lock.c", "r = pthread_mutex_trylock(&d->mutex);", "r = 0;"),
    "a word is stored as if nobody read it": (
        "internal.h",
        "__atomic_store_n(&(field), _value, __ATOMIC_RELEASE);",
        "(field) = _value;",
    ),
    "statistics are read beside the lock": (
        "stats.c",
        "lock(s, domain);\n    uint64_t now = now_ns();",
        "uint64_t now = now_ns();",
    ),
}


def compile_all(sources: list[Path], folder: Path, flags: list[str]) -> list[Path]:
    """Object files of the sources in the folder, two compilers at a time."""
    folder.mkdir(exist_ok=True)
    objects = [folder / f"{source.stem}.o" for source in sources]

    def one(source: Path, target: Path) -> None:
        subprocess.run(["gcc", *FLAGS, *flags, "-c", "-o", target, source], check=True, timeout=100)

    with ThreadPoolExecutor(2) as two:
        list(two.map(one, sources, objects))
    return objects


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    need("gcc")
    folder = tmp_path_factory.mktemp("tsan")
    core = compile_all(sorted(CORE.glob("*.c")), folder, [*TSAN, *THROUGH_HARNESS])
    return core + compile_all([HERE / "threads.c"], folder, TSAN)


def run_threads(objects: list[Path], folder: Path) -> subprocess.CompletedProcess[str]:
    binary, segment = folder / "threads", Path(f"/dev/shm/shmchan-threads-{os.getpid()}")
    subprocess.run(["gcc", *FLAGS, *TSAN, "-o", binary, *objects], check=True, timeout=100)
    command = [str(binary), SECONDS, str(segment)]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=int(SECONDS) + 40, check=False)
    except subprocess.TimeoutExpired as hung:  # without a lock lists may become rings: what was said until then counts
        return subprocess.CompletedProcess(command, -9, "", (hung.stderr or b"").decode(errors="replace"))
    finally:
        segment.unlink(missing_ok=True)


def test_tsan_is_silent_when_threads_do_everything_at_once(threads: list[Path], tmp_path: Path) -> None:
    run = run_threads(threads, tmp_path)
    print(run.stdout)
    assert "WARNING: ThreadSanitizer" not in run.stderr, run.stderr[:6000]
    assert run.returncode == 0, run.stdout + run.stderr[:2000]
    assert int(run.stdout.split()[0]) > 10, "the threads hardly ran"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_tsan_reports_when(threads: list[Path], tmp_path: Path, mutation: str) -> None:
    name, text, instead = MUTATIONS[mutation]
    copy = tmp_path / "csrc"
    shutil.copytree(CORE, copy)
    changed = (copy / name).read_text()
    assert text in changed, f"{name} has changed: {text!r} is not there"
    (copy / name).write_text(changed.replace(text, instead))
    source = copy / (name if name.endswith(".c") else "pool.c")
    recompiled = compile_all([source], tmp_path / "objects", [*TSAN, *THROUGH_HARNESS])
    replaced = {path.name for path in recompiled}
    said = run_threads(recompiled + [path for path in threads if path.name not in replaced], tmp_path)
    assert "WARNING: ThreadSanitizer: data race" in said.stderr, said.stdout + said.stderr[:2000]
    assert said.returncode != 0


@pytest.mark.timeout(200)
def test_asan_and_ubsan_are_silent_when_processes_are_killed_and_stopped(tmp_path: Path) -> None:
    need("gcc")
    points = HERE.parent / "crash" / "points.c"
    flags = [*ASAN, "-DSHMC_POINTS", "-DPATIENCE_NS=20000000ull"]
    objects = compile_all([points, *sorted(CORE.glob("*.c"))], tmp_path / "objects", flags)
    binary = tmp_path / "points"
    subprocess.run(["gcc", *FLAGS, *ASAN, "-o", binary, *objects], check=True, timeout=100)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    for mode, stride in (("kill", "401"), ("reaper", "24007"), ("stop", "4001")):
        run = subprocess.run([binary, mode, stride], capture_output=True, text=True, timeout=150, check=False, env=environment)
        print(run.stdout)
        assert run.returncode == 0, run.stdout + run.stderr[:6000]
        assert "runtime error" not in run.stderr, run.stderr
        assert "AddressSanitizer" not in run.stderr, run.stderr
