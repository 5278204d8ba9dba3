"""Where an instance keeps what outlives it."""

import os
from pathlib import Path

import pytest

from shmchan.state import state_folder


def test_it_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_folder("x") == Path("/state/shmchan/x")


@pytest.mark.parametrize(("user", "expected"), [(0, "/var/lib/shmchan/x"), (1000, "/home/me/.local/state/shmchan/x")])
def test_else_where_the_system_keeps_state(monkeypatch: pytest.MonkeyPatch, user: int, expected: str) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert state_folder("x") == Path(expected)
