"""What a person who made a mistake reads: one line that says what to do, exit code 2, and nothing left behind."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from shmchan.supervisor import Listeners
from tests.servers import SEGMENTS, WATCHDOG, StartServer, command, environment, left_behind


def refusal(folder: Path, *arguments: str, name: str | None = None, env: dict[str, str] | None = None) -> str:
    """The one line that `shmchan run` says before it leaves with 2."""
    ours = name or f"refused-{os.getpid()}-{time.monotonic_ns()}"
    given = [*arguments, "--name", ours]
    if "--bind" not in arguments:
        given += ["--bind", "127.0.0.1:0"]
    if "--memory" not in arguments:
        given += ["--memory", "32MiB"]
    done = subprocess.run(
        command("run", *given),
        cwd=folder,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("shmchan: "), done.stderr
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    if name is None:
        assert left_behind(ours) == []
    return done.stderr.strip()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with an application that is as it should be."""
    (tmp_path / "app.py").write_text("from shmchan import route\n\nrouting = []\n")
    return tmp_path


def test_a_module_that_does_not_exist(app: Path) -> None:
    assert "no_such_module" in refusal(app, "no_such_module")


def test_an_attribute_that_does_not_exist(app: Path) -> None:
    line = refusal(app, "app:routes")
    assert "app" in line
    assert "routes" in line


def test_a_module_without_routing(app: Path) -> None:
    (app / "empty.py").write_text("x = 1\n")
    line = refusal(app, "empty")
    assert "empty" in line
    assert "routing" in line


def test_an_attribute_that_is_no_routing(app: Path) -> None:
    (app / "wrong.py").write_text("routing = 42\n")
    assert "routing" in refusal(app, "wrong")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os\n\nrouting = [undefined]\n", "name 'undefined' is not defined"),
        ("import os\n\nimport no_such_library\n", "'no_such_library', which is not installed"),
        ("import os\n\nrouting = [\n", "was never closed"),
        ("import os\n\nraise RuntimeError('two\\nlines')\n", "two lines"),
    ],
    ids=["name", "import", "syntax", "two-lines"],
)
def test_a_module_that_does_not_import_is_named_with_its_line(app: Path, source: str, message: str) -> None:
    (app / "broken.py").write_text(source)
    line = refusal(app, "broken", "--workers", "2")
    assert "broken.py:3" in line
    assert message in line


def test_an_error_below_the_module_is_named_where_it_is(app: Path) -> None:
    (app / "below.py").write_text("\n\n1 / 0\n")
    (app / "above.py").write_text("import below\n\nrouting = []\n")
    line = refusal(app, "above")
    assert "below.py:3" in line
    assert "division by zero" in line


def test_a_port_in_use(app: Path) -> None:
    with Listeners(["127.0.0.1:0"]) as taken:
        address = taken.urls[0].removeprefix("http://")
        assert f"cannot listen on {address}: another process listens there" in refusal(app, "app", "--bind", address)


@pytest.mark.parametrize("bind", ["8000", "127.0.0.1", "localhost:http"])
def test_a_bind_that_is_none(app: Path, bind: str) -> None:
    line = refusal(app, "app", "--bind", bind)
    assert repr(bind) in line
    assert "127.0.0.1:8000" in line


def test_too_little_memory_names_the_least_that_works(app: Path, server: StartServer) -> None:
    line = refusal(app, "app", "--memory", "64KiB")
    named = re.search(r"--memory (\d+MiB)", line)
    assert named is not None, line
    server("--workers", "1", "--memory", named[1]).stop()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["app", "--workers", "none"], "'none' is not a valid integer"),
        (["app", "--workers", "0"], "0 is not in the range"),
        (["app", "--memory", "lots"], "'lots' is no size"),
        (["app", "--expiry", "-1"], "'-1' is no time"),
        (["app", "--root-path", "app/"], "--root-path is 'app/'"),
        (["app", "--js-path", "x"], "--js-path is 'x'"),
        (["app", "--static", "static=."], "--static has 'static'"),
        (["app", "--bind", "127.0.0.1:99999"], "'127.0.0.1:99999' has a port out of range"),
        (["app", "--memory", "1TiB"], "KiB, MiB or GiB"),
        (["app", "--allowed-hosts", "a.org,http://foo.example"], "'http://foo.example' is no name of a host; write foo.example"),
        (["app", "--app-dir", "nowhere"], "nowhere"),
        (["app", "--static", "/static=nowhere"], "there is no folder 'nowhere' for /static; create it"),
        (["app", "--static", "/static"], "'/static' has no folder; write URL=FOLDER"),
        (["app", "--no-such-option"], "--no-such-option"),
        (["app", "and", "more"], "unexpected extra argument"),
    ],
)
def test_options_that_are_wrong(app: Path, arguments: list[str], words: str) -> None:
    assert words in refusal(app, *arguments)


def test_no_application_at_all(app: Path) -> None:
    assert "APP" in refusal(app)


def test_an_environment_variable_that_is_wrong(app: Path) -> None:
    assert "'many'" in refusal(app, "app", env={"SHMCHAN_WORKERS": "many"})


def test_a_setting_of_the_project_that_is_none(app: Path) -> None:
    (app / "pyproject.toml").write_text("[tool.shmchan]\nwrokers = 3\n")
    assert "'wrokers', which is no option of `shmchan run`" in refusal(app, "app")
    (app / "pyproject.toml").write_text("[tool.shmchan\n")
    assert "cannot read" in refusal(app, "app")


def test_a_name_that_is_not_allowed(app: Path) -> None:
    line = refusal(app, "app", name="../elsewhere")
    assert "../elsewhere" in line
    assert "the name of an instance is a str" in line


def test_a_second_run_of_the_same_name(server: StartServer) -> None:
    running = server("--workers", "1")
    line = refusal(running.folder, "app", name=running.name)
    assert f"{running.name!r} is running already" in line
    assert left_behind(running.name) != []
    running.stop()


def test_a_segment_of_another_version_is_refused_by_those_who_attach_and_replaced_by_a_run(server: StartServer) -> None:
    first = server("--workers", "1")
    first.kill()
    with open(SEGMENTS / first.name / "segment", "r+b") as segment:
        segment.seek(8)  # the layout's version stands behind the magic number
        segment.write((9999).to_bytes(8, "little"))
    done = subprocess.run(
        command("stats", "--name", first.name), env=environment(), capture_output=True, text=True, timeout=WATCHDOG, check=False
    )
    assert done.returncode == 2
    assert f"{first.name!r} was made by another version (its layout is 9999" in done.stderr
    assert done.stderr.count("\n") == 1
    second = server("--workers", "1", name=first.name)
    second.stop()


def test_a_damaged_left_over_is_refused_by_those_who_attach_and_replaced_by_a_run(server: StartServer) -> None:
    first = server("--workers", "1")
    first.kill()
    os.truncate(SEGMENTS / first.name / "segment", 100)
    done = subprocess.run(
        command("stats", "--name", first.name), env=environment(), capture_output=True, text=True, timeout=WATCHDOG, check=False
    )
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert done.stderr.count("\n") == 1
    second = server("--workers", "1", name=first.name)
    second.stop()
