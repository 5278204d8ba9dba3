"""``shmchan.__version__``: one number, which pyproject.toml holds."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import shmchan
from shmchan.cli.main import main
from shmchan.version import UNKNOWN, installed_version

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    written = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert shmchan.__version__ == written
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"shmchan {written}\n"


def test_a_package_that_was_never_installed_has_a_version_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", nowhere)
    assert installed_version() == UNKNOWN


def test_nobody_waits_for_the_version_who_does_not_ask() -> None:
    code = "import sys, shmchan; assert 'shmchan.version' not in sys.modules; print(shmchan.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    assert done.stdout.strip() == shmchan.__version__


def test_other_names_are_missed_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute '__no_such__'"):
        shmchan.__no_such__  # type: ignore[attr-defined]  # noqa: B018


def test_submodules_are_there_when_they_are_asked_for() -> None:
    code = "import shmchan, sys; print('shmchan.delay' in sys.modules, shmchan.delay.__name__, hasattr(shmchan, 'no_such'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert told.split() == ["False", "shmchan.delay", "False"]
