"""
Django projects with ``shmchan.contrib.django``: the one of this folder's neighbour ``projects/desk`` from inside, and the example
``board_django`` from outside, as somebody at a terminal and a browser has it.

``make django`` runs it with every supported version of Django.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from shmchan.layers.shm import ShmChannelLayer
from tests.django_project import Browser, Project, environment_of, make_database
from tests.servers import ROOT, WATCHDOG, StartServer, wait_for

PROJECTS = ROOT / "tests" / "projects"
WRITE = "from cards.models import Card; Card.objects.create(title={title!r}, admin_only={secret})"


def test_a_projects_own_tests_of_bindings_sessions_and_users_pass(tmp_path: Path) -> None:
    env = environment_of(tmp_path, PYTHONPATH=str(PROJECTS), DJANGO_SETTINGS_MODULE="desk.settings")
    command = [sys.executable, "-W", "error", "-m", "django", "test", "desk"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=2 * WATCHDOG, check=False)
    assert done.returncode == 0, done.stderr
    found = re.search(r"Ran (\d+) tests", done.stderr)
    assert found is not None
    assert int(found[1]) >= 25


def told(socket: ClientConnection) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(socket.recv(timeout=WATCHDOG))["payload"]
    return payload


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    new = Project(tmp_path / "django")
    shutil.copy(make_database(tmp_path_factory), new.folder / "board.sqlite3")
    try:
        yield new
    finally:
        new.discard()


def test_runserver_serves_views_static_files_and_websockets_and_any_process_is_heard(project: Project) -> None:
    project.serve("--noreload")
    ada, grace = Browser(project.port), Browser(project.port)
    assert grace.request("GET", "/")[1]["location"] == "/login/?next=/"
    with pytest.raises(InvalidStatus, match="403"):
        grace.open()
    ada.login("ada", "one")
    grace.login("grace", "two")
    assert grace.request("GET", "/static/board.css")[::2][0] == 200
    assert 'data-me="grace"' in grace.request("GET", "/")[2]
    with ada.open() as staff, grace.open() as other:
        assert [told(one)["admin"] for one in (staff, other)] == [True, False]
        project.shell(WRITE.format(title="seen", secret=False))
        assert [told(one)["action"] for one in (staff, other)] == ["create", "create"]
        other.send(json.dumps({"stream": "cards", "payload": {"action": "update", "pk": 1, "data": {"admin_only": True}}}))
        assert told(other)["errors"] == {"admin_only": "is no field that can be set"}
        staff.send(json.dumps({"stream": "cards", "payload": {"action": "update", "pk": 1, "data": {"admin_only": True}}}))
        assert [(it["action"], it["data"]["admin_only"]) for it in (told(staff), told(other))] == [
            ("update", True),
            ("delete", False),
        ]
        other.send(json.dumps({"stream": "cards", "payload": {"action": "delete", "pk": 1}}))
        assert told(other)["reason"] == "you may not delete this"
    assert '"GET /static/board.css" 200' in project.printed()
    second = project.manage("runserver", "--noreload", "127.0.0.1:0")
    assert second.returncode != 0
    assert "is running already" in second.stderr
    project.stop(signal.SIGINT)
    project.assert_nothing_is_left()


def test_what_changed_before_a_process_began_is_no_change_to_it() -> None:
    """The change that a server was started again for is not seen a second time: it would start once more."""
    before = time.time()
    line = "from shmchan.contrib.django import reload; print(reload._began())"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, timeout=WATCHDOG, check=True)
    assert before - 0.02 <= float(done.stdout) <= time.time()


def test_runserver_starts_again_when_a_file_changes_and_waits_where_one_is_broken(project: Project) -> None:
    project.serve()
    browser = Browser(project.port)
    browser.login("grace", "two")
    views = project.root / "cards" / "views.py"
    good = views.read_text()
    views.write_text(good.replace("data-me=", "data-changed data-me="))
    project.wait_until_started(2)
    browser.port = project.port
    assert "data-changed" in browser.request("GET", "/")[2]
    views.write_text("this is no Python\n")
    project.wait_for("the complaint", lambda: "Waiting for a change." in project.printed())
    assert "SyntaxError" in project.printed()
    views.write_text(good)
    project.wait_until_started(3)
    browser.port = project.port
    assert "data-changed" not in browser.request("GET", "/")[2]
    project.stop()
    project.assert_nothing_is_left()


def test_runworker_joins_a_running_instance_and_takes_over_what_is_its_own(project: Project) -> None:
    missing = project.manage("runworker")
    assert missing.returncode == 1
    assert "no shmchan instance named" in missing.stderr
    (project.root / "cards" / "routing.py").write_text(
        "import os\n"
        "from shmchan import Channel, route\n"
        "from cards.models import Card\n"
        "def work(message):\n"
        "    Card.objects.create(title=f'{os.getpid()}')\n"
        "channel_routing = [route('work', work)]\n"
    )
    project.serve("--noreload", "--nothreading")
    worker = project.begin("runworker", "--only-channels", "work", "--threads", "2")
    try:
        project.wait_for("the worker", lambda: "One more worker" in project.printed())
        project.shell(
            "import time\n"
            "from shmchan import Channel\n"
            "from cards.models import Card\n"
            f"while not Card.objects.filter(title='{worker.pid}').exists():\n"
            "    Channel('work').send({}); time.sleep(0.05)\n"
        )
        project.stop()
        wait_for("the worker to leave with its instance", lambda: worker.poll() is not None, project.log)
        assert worker.returncode == 0
        project.assert_nothing_is_left()
    finally:
        worker.kill()
        worker.wait()


def test_a_project_in_production_behind_a_prefix_and_only_for_its_hosts(project: Project, server: StartServer) -> None:
    env = project.env(BOARD_DEBUG="0", BOARD_PREFIX="/desk", BOARD_HOSTS="example.org", DJANGO_SETTINGS_MODULE="project.settings")
    for name in ("SHMCHAN_NAME", "XDG_STATE_HOME"):  # which the server has of its own
        del env[name]
    options = ("--workers", "2", "--app-dir", str(project.root), "--root-path", "/desk", "--allowed-hosts", "example.org")
    running = server(*options, app="shmchan.contrib.django.routing", env=env)
    browser = Browser(running.port)
    assert browser.request("GET", "/desk/")[0] == 400, "the Host is none of ALLOWED_HOSTS"
    own = {"Host": "example.org"}
    status, headers, _ = browser.request("GET", "/desk/", **own)
    assert (status, headers["location"]) == (302, "/desk/login/?next=/desk/")
    assert '"/desk/static/board.css"' in browser.request("GET", "/desk/login/", **own)[2]
    assert browser.request("GET", "/desk/static/board.css", **own)[0] == 404, "static files are the proxy's in production"
    browser.login("grace", "two", "/desk", **own)
    with pytest.raises(InvalidStatus, match="403"):
        browser.open("/desk/board/", "https://evil.example")
    with browser.open("/desk/board/", "https://example.org") as socket:
        assert told(socket)["action"] == "all"


def test_rundelay_is_the_delay_process_of_a_run_without_one(project: Project, server: StartServer) -> None:
    running = server("--no-delay", "--app-dir", str(project.root), app="app")
    project.name = running.name
    delay = project.begin("rundelay")
    try:
        project.wait_for("the process", lambda: "wait in" in project.printed())
        project.shell("from shmchan.delay import send; send('later', {'a': 1}, delay=50)")
        with ShmChannelLayer.attach(running.name) as layer:
            assert layer.receive(["later"], block=True) == ("later", {"a": 1})
        delay.terminate()
        wait_for("its end", lambda: delay.poll() is not None, project.log)
        assert delay.returncode == 0
    finally:
        delay.kill()
        delay.wait()
