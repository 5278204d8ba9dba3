"""
Django projects with ``shmchan.contrib.django``: the one of this folder's neighbour ``projects/desk`` from inside, and the example
``board_django`` from outside, as somebody at a terminal and a browser has it.

``make django`` runs it with every supported version of Django.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from shmchan.layers.shm import ShmChannelLayer
from tests.servers import ROOT, WATCHDOG, StartServer, environment, is_gone, left_behind, wait_for

PROJECTS = ROOT / "tests" / "projects"
USERS = """
from django.contrib.auth.models import User
User.objects.create_user("ada", password="one", is_staff=True, is_superuser=True)
User.objects.create_user("grace", password="two")
"""
WRITE = "from cards.models import Card; Card.objects.create(title={title!r}, admin_only={secret})"


def environment_of(folder: Path, **changes: str) -> dict[str, str]:
    """Any Django that DJANGO_FOLDER names comes before the installed one."""
    first = [os.environ["DJANGO_FOLDER"]] if "DJANGO_FOLDER" in os.environ else []
    path = os.pathsep.join([*first, str(ROOT), *filter(None, [changes.pop("PYTHONPATH", "")])])
    state = {"XDG_STATE_HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    return {**environment(), "PYTHONPATH": path, **state, **changes}


def test_a_projects_own_tests_of_bindings_sessions_and_users_pass(tmp_path: Path) -> None:
    env = environment_of(tmp_path, PYTHONPATH=str(PROJECTS), DJANGO_SETTINGS_MODULE="desk.settings")
    command = [sys.executable, "-W", "error", "-m", "django", "test", "desk"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=2 * WATCHDOG, check=False)
    assert done.returncode == 0, done.stderr
    found = re.search(r"Ran (\d+) tests", done.stderr)
    assert found is not None
    assert int(found[1]) >= 25


class Project:
    """A copy of the example project, with two users, and the server of it that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "examples" / "board_django"
        self.name = f"django-{os.getpid()}-{id(self)}"
        self.log = folder / "log"
        self.server: subprocess.Popen[bytes] | None = None
        self.port = 0
        shutil.copytree(ROOT / "examples" / "board" / "page", folder / "examples" / "board" / "page")
        shutil.copytree(ROOT / "examples" / "board_django", self.root, ignore=shutil.ignore_patterns("*.sqlite3", "__pycache__"))

    def env(self, **changes: str) -> dict[str, str]:
        return environment_of(self.folder, SHMCHAN_NAME=self.name, BOARD_DB=str(self.folder / "board.sqlite3"), **changes)

    def manage(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """A command of manage.py, to its end."""
        command = [sys.executable, "manage.py", *arguments]
        env = self.env(**changes)
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, timeout=2 * WATCHDOG, check=False)

    def shell(self, lines: str) -> None:
        done = self.manage("shell", "-c", lines)
        assert done.returncode == 0, done.stderr

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that goes on; what it prints goes to the log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=self.root,
                env=self.env(PYTHONUNBUFFERED="1"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def serve(self, *options: str) -> None:
        self.server = self.begin("runserver", "127.0.0.1:0", *options)
        self.wait_until_started(1)

    def wait_until_started(self, times: int) -> None:
        """Return when it has started so often; a server that starts again has another port."""
        self.wait_for(f"start number {times}", lambda: self.printed().count("Quit the server") >= times)
        self.port = int(re.findall(r"development server at http://127\.0\.0\.1:(\d+)/", self.printed())[-1])

    def printed(self) -> str:
        return self.log.read_text()

    def wait_for(self, what: str, condition: Any) -> None:
        wait_for(what, lambda: condition() or (self.server is not None and self.server.poll() is not None), self.log)
        assert condition(), self.printed()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.server is not None
        if number == signal.SIGINT:
            os.killpg(self.server.pid, number)  # as a terminal does it
        else:
            self.server.send_signal(number)
        wait_for("the end of the server", lambda: self.server is None or self.server.poll() is not None, self.log)
        assert self.server.returncode == 0, self.printed()
        self.server = None

    def assert_nothing_is_left(self) -> None:
        assert left_behind(self.name) == [], self.printed()

    def discard(self) -> None:
        if self.server is not None and self.server.poll() is None:
            family = [*psutil.Process(self.server.pid).children(recursive=True), psutil.Process(self.server.pid)]
            for one in family:
                one.kill()
            self.server.wait()
            wait_for("the end of the children", lambda: all(is_gone(one) for one in family))
        for path in left_behind(self.name):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


class Browser:
    """One visitor with cookies."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def request(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WATCHDOG)
        try:
            connection.request(method, path, body, {"Cookie": self.cookie(), **headers})
            response = connection.getresponse()
            for cookie in response.headers.get_all("set-cookie") or []:
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read().decode()
        finally:
            connection.close()

    def login(self, name: str, password: str, prefix: str = "", **more: str) -> None:
        _, _, page = self.request("GET", f"{prefix}/login/", **more)
        found = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found is not None, page
        form = urlencode({"csrfmiddlewaretoken": found[1], "username": name, "password": password, "next": f"{prefix}/"})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, headers, _ = self.request("POST", f"{prefix}/login/", form, **kind, **more)
        assert (status, headers["location"]) == (302, f"{prefix}/")

    def open(self, path: str = "/board/", origin: str | None = None) -> ClientConnection:
        headers = {"Cookie": self.cookie(), **({} if origin is None else {"Origin": origin})}
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=headers, open_timeout=WATCHDOG, proxy=None)


def told(socket: ClientConnection) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(socket.recv(timeout=WATCHDOG))["payload"]
    return payload


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables and the users, to copy."""
    project = Project(tmp_path_factory.mktemp("database"))
    done = project.manage("migrate")
    assert done.returncode == 0, done.stderr
    project.shell(USERS)
    return project.folder / "board.sqlite3"


@pytest.fixture
def project(tmp_path: Path, database: Path) -> Iterator[Project]:
    new = Project(tmp_path / "django")
    shutil.copy(database, new.folder / "board.sqlite3")
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
