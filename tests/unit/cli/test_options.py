"""Options of `shmchan run` that reach further than the command line."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shmchan import auth
from shmchan.cli.run import run
from shmchan.cli.settings import OTHER_VARIABLES
from shmchan.exceptions import AppError
from shmchan.security import websockets
from shmchan.supervisor import serve
from shmchan.supervisor.serve import RunOptions, load
from tests.servers import ROOT


@pytest.fixture(autouse=True)
def _unchanged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SHMCHAN_NAME", "before")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "app_of_options.py").write_text("routing = []\ndef user(user_id): return f'user {user_id}'\n")
    yield
    auth.set_user_loader(None)
    websockets.set_allowed_hosts(())


def options_of(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """What a command line asks `serve` for."""
    seen: list[RunOptions] = []

    def fake(options: RunOptions, started: Any) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(serve, "serve", fake)
    result = CliRunner().invoke(run, ["app_of_options", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def test_allowed_hosts_reach_the_front_and_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_of(monkeypatch=monkeypatch).front.allowed_hosts == ()
    given = ("--allowed-hosts", "a.org, .b.org", "--allowed-hosts", "c.org")
    options = options_of(*given, monkeypatch=monkeypatch)
    assert options.front.allowed_hosts == ("a.org", ".b.org", "c.org")
    load(options)
    assert websockets._allowed_hosts == ("a.org", ".b.org", "c.org")


def test_the_user_loader_is_found_beside_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    options = options_of("--user-loader", "app_of_options:user", "--name", "shop", monkeypatch=monkeypatch)
    load(options)
    assert auth.get_user(7) == "user 7"
    assert os.environ["SHMCHAN_NAME"] == "shop"
    with pytest.raises(AppError, match="user loader"):
        load(options_of("--user-loader", "app_of_options:nobody", monkeypatch=monkeypatch))


def test_static_folders_and_the_path_of_the_script_reach_the_front(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert options_of(monkeypatch=monkeypatch).front.static == ()
    assert options_of(monkeypatch=monkeypatch).front.js_path is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "public").mkdir()
    (tmp_path / "a=b").mkdir()
    given = ("--static", "/static/=public", "--static", "/=a=b", "--js-path", "/js/shmchan.js")
    front = options_of(*given, monkeypatch=monkeypatch).front
    assert front.static == (("/static", str(tmp_path / "public")), ("/", str(tmp_path / "a=b")))
    assert front.js_path == "/js/shmchan.js"
    monkeypatch.setenv("SHMCHAN_STATIC", "/a=public /b=public")
    monkeypatch.setenv("SHMCHAN_JS_PATH", "/from/environment.js")
    front = options_of(monkeypatch=monkeypatch).front
    assert front.static == (("/a", str(tmp_path / "public")), ("/b", str(tmp_path / "public")))
    assert front.js_path == "/from/environment.js"


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        (("--http-timeout", "7"), "http_timeout", 7.0),
        (("--handshake-timeout", "7.5"), "handshake_timeout", 7.5),
        (("--websocket-timeout", "70"), "websocket_timeout", 70.0),
        (("--ping-interval", "7"), "ping_interval", 7.0),
        (("--ping-interval", "0"), "ping_interval", None),
        (("--ping-timeout", "7"), "ping_timeout", 7.0),
        (("--ws-protocol", "a", "--ws-protocol", "b"), "ws_protocols", ("a", "b")),
        (("--ws-max-size", "7KiB"), "ws_max_size", 7 << 10),
        (("--max-body-size", "7M"), "max_body_size", 7_000_000),
        (("--root-path", "/app"), "root_path", "/app"),
        (("--no-access-log",), "access_log", False),
    ],
)
def test_options_reach_the_front(monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], field: str, value: object) -> None:
    front = options_of(*given, monkeypatch=monkeypatch).front
    assert getattr(front, field) == value
    assert getattr(options_of(monkeypatch=monkeypatch).front, field) != value


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        (("--bind", "127.0.0.1:1", "--bind", "[::1]:2"), "binds", ("127.0.0.1:1", "[::1]:2")),
        (("--capacity", "7"), "capacity", 7),
        (("--expiry", "7"), "expiry", 7.0),
        (("--memory", "64MiB"), "memory", 64 << 20),
        (("--workers", "7"), "workers", 7),
        (("--threads", "7"), "threads", 7),
        (("--async-limit", "7"), "async_limit", 7),
        (("--graceful-timeout", "7"), "graceful_timeout", 7.0),
        (("--name", "shop"), "name", "shop"),
        (("--only-channels", "a.*", "--only-channels", "b"), "only", ("a.*", "b")),
        (("--exclude-channels", "a.*"), "exclude", ("a.*",)),
    ],
)
def test_options_reach_the_run(monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], field: str, value: object) -> None:
    monkeypatch.delenv("SHMCHAN_NAME")
    options = options_of(*given, monkeypatch=monkeypatch)
    assert getattr(options, field) == value
    assert getattr(options_of(monkeypatch=monkeypatch), field) != value


def test_variables_that_are_no_settings_are_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("SHMCHAN_SECRET", "x")
    monkeypatch.setenv("SHMCHAN_PING_INTERVAL", "7")
    options_of(monkeypatch=monkeypatch)
    assert not caplog.messages
    monkeypatch.setenv("SHMCHAN_WORKER", "7")
    monkeypatch.setenv("SHMCHAN_QQQ", "7")
    options_of(monkeypatch=monkeypatch)
    first, second = caplog.messages
    assert "SHMCHAN_QQQ of the environment is ignored" in first
    assert "SHMCHAN_WORKER of" in second
    assert second.endswith("; SHMCHAN_WORKERS is one")


def test_every_variable_that_something_reads_is_known() -> None:
    """What is read by name, here and in the tests; options are read by click."""
    known = OTHER_VARIABLES | {str(parameter.envvar) for parameter in run.params}
    files = [path for folder in ("shmchan", "tests", "setup.py") for path in _sources(ROOT / folder)]
    read = {
        name for path in files for name in re.findall(r"environ(?:\.get\(|\[|\.setdefault\()\"(SHMCHAN_\w+)", path.read_text())
    }
    assert {"SHMCHAN_NAME", "SHMCHAN_SECRET", "SHMCHAN_SANITIZE"} <= read <= known


def _sources(path: Path) -> list[Path]:
    return [path] if path.is_file() else [*path.rglob("*.py")]


def test_the_application_need_not_be_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = CliRunner().invoke(run, ["--help"]).output
    assert "[OPTIONS] [APP]" in shown
    assert "`app` of [tool.shmchan]" in shown
    refused = CliRunner().invoke(run, [])
    assert (refused.exit_code, "Missing argument" in refused.output) == (2, True)
