"""Rivals: each needs packages that the extra ``bench`` has, and one that is not there is said, with how to get it."""

import re
import tomllib
from pathlib import Path

import pytest

from shmchan.bench import delay, results, rivals, servers, suite

ROOT = Path(__file__).resolve().parents[3]


def test_every_package_that_a_rival_needs_is_in_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["bench"]]
    there = {re.split(r"[<>=;\[ ]", line)[0].replace("-", "_").lower() for line in wanted}
    assert {module for modules in rivals.NEEDS.values() for module in modules} <= there


def test_every_rival_takes_part_in_a_benchmark() -> None:
    subjects = {subject for benchmark in suite.BENCHMARKS for subject in benchmark.subjects}
    assert rivals.NEEDS.keys() <= subjects
    assert rivals.UVICORN in servers.commands()


@pytest.mark.parametrize("subject", [rivals.FIFO, rivals.UVICORN, delay.HUEY])
def test_one_that_is_not_there_is_said(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert str(rivals.missing(subject)).endswith(" is not installed (pip install 'shmchan[bench]')")
    assert rivals.missing(results.SELF) is None


def test_one_that_is_there_is_not_missing() -> None:
    assert rivals.missing(rivals.PIPE) is None
