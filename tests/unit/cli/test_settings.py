"""Sizes, times, and where options come from."""

from pathlib import Path

import click
import pytest

from shmchan.cli.settings import POSITIVE, SECONDS, SIZE, format_size, parse_size, project_settings
from shmchan.exceptions import ConfigError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("256MiB", 256 << 20),
        ("256 mib", 256 << 20),
        ("64k", 64_000),
        ("1.5GiB", 3 << 29),
        ("16 Ki", 16 << 10),
        ("2MB", 2_000_000),
    ],
)
def test_sizes_are_bytes_with_or_without_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1TiB", "1 2", "0x10", "1e6", "²MiB", "1.MiB", "True"])
def test_anything_else_is_no_size(text: str) -> None:
    assert parse_size(text) is None
    with pytest.raises(click.BadParameter, match="is no size"):
        SIZE.convert(text, None, None)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (256 << 20, "256 MiB"), (3 << 29, "1.5 GiB"), (5000 << 30, "5000 GiB")]
)
def test_sizes_are_shown_with_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert format_size(size) == text


def test_times_are_finite_and_positive() -> None:
    assert POSITIVE.convert("1.5", None, None) == 1.5
    assert SECONDS.convert(0, None, None) == 0.0
    for text in ("0", "-1", "inf", "nan", "soon"):
        with pytest.raises(click.BadParameter, match="is no time"):
            POSITIVE.convert(text, None, None)


def test_the_nearest_project_upwards_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.shmchan]\nworkers = 3\nbind = "127.0.0.1:1"\nlog-level = "error"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert project_settings() == {"workers": 3, "bind": ["127.0.0.1:1"], "log_level": "error"}
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert project_settings() == {}


@pytest.mark.parametrize("text", ["[tool.shmchan", "[tool]\nshmchan = 3\n"])
def test_a_malformed_project_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"pyproject\.toml"):
        project_settings()
