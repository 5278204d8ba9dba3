"""The command itself: its list of commands, its exit codes, its one-line errors."""

import pytest

from shmchan.cli.main import COMMANDS, SUMMARIES, main


def test_without_a_command_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_help_lists_every_command_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert SUMMARIES.keys() == COMMANDS.keys()
    for name, summary in SUMMARIES.items():
        assert name in listed
        assert summary in listed


@pytest.mark.parametrize("arguments", [["ruin"], ["--no-such"], ["run"], ["run", "app", "--workers", "x"]])
def test_mistakes_are_one_line_and_exit_code_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("shmchan: ")
    assert said.err.count("\n") == 1
    assert "--help" in said.err


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("shmchan ")
