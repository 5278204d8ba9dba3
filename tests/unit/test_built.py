"""Whether the C modules are those of their sources: what is compared, and what a person is told."""

import importlib.machinery
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shmchan.built import SOURCES, Outdated, check_built
from tests.servers import ROOT, environment

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
YEAR_2001 = 1_000_000_000


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose modules are a second younger than their sources."""
    (tmp_path / "shmchan").mkdir()
    for module, folder in SOURCES.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in ("a.c", "b.h"):
            touch(tmp_path / folder / name, YEAR_2001)
        touch(tmp_path / "shmchan" / (module + SUFFIX), YEAR_2001 + 1)
    return tmp_path


def touch(path: Path, seconds: int) -> None:
    path.touch()
    os.utime(path, (seconds, seconds))


def test_modules_that_are_younger_than_their_sources_are_fine(checkout: Path) -> None:
    touch(checkout / "csrc" / "notes.txt", YEAR_2001 + 2)
    check_built(checkout / "shmchan")


@pytest.mark.parametrize("module", SOURCES)
@pytest.mark.parametrize("name", ["a.c", "b.h", "new.c"])
def test_a_module_that_is_older_than_one_of_its_sources_is_named(checkout: Path, module: str, name: str) -> None:
    touch(checkout / SOURCES[module] / name, YEAR_2001 + 2)
    with pytest.raises(
        Outdated, match=rf"shmchan\.{module} is older than {SOURCES[module]}/{name}; run `make build` in {checkout}"
    ):
        check_built(checkout / "shmchan")


def test_where_no_sources_stand_beside_the_package_nothing_is_compared(checkout: Path) -> None:
    touch(checkout / "csrc" / "a.c", YEAR_2001 + 2)
    (checkout / "csrc").rename(checkout / "elsewhere")
    check_built(checkout / "shmchan")


def test_the_folders_are_those_that_the_modules_are_built_from() -> None:
    for folder in SOURCES.values():
        assert [*(ROOT / folder).glob("*.c")]
        assert folder in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize("arguments", [("run", "app"), ("stats",), ("send", "a", "{}")])
def test_a_command_of_an_outdated_checkout_says_so_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    shutil.copytree(ROOT / "shmchan", tmp_path / "shmchan", ignore=shutil.ignore_patterns("__pycache__", "examples", "bench"))
    for folder in SOURCES.values():
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "csrc" / "lane.c").touch()
    for module in (tmp_path / "shmchan").glob("*.so"):
        os.utime(module, (YEAR_2001, YEAR_2001))
    done = subprocess.run(
        [sys.executable, "-m", "shmchan", *arguments],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("shmchan: the C module shmchan._core is older than csrc/lane.c; run `make build` in")
    assert done.stderr.count("\n") == 1
