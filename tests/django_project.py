"""
The example project ``board_django`` as somebody at a terminal and a browser has it: a copy of its own, with two users.

Any Django that DJANGO_FOLDER names comes before the installed one.
"""

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.servers import ROOT, WATCHDOG, environment, is_gone, left_behind, wait_for

USERS = """
from django.contrib.auth.models import User
User.objects.create_user("ada", password="one", is_staff=True, is_superuser=True)
User.objects.create_user("grace", password="two")
"""


def environment_of(folder: Path, **changes: str) -> dict[str, str]:
    """Any Django that DJANGO_FOLDER names comes before the installed one."""
    first = [os.environ["DJANGO_FOLDER"]] if "DJANGO_FOLDER" in os.environ else []
    path = os.pathsep.join([*first, str(ROOT), *filter(None, [changes.pop("PYTHONPATH", "")])])
    state = {"XDG_STATE_HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    return {**environment(), "PYTHONPATH": path, **state, **changes}


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


_made: list[Path] = []


def make_database(factory: pytest.TempPathFactory) -> Path:
    """A database with the tables and the users, to copy; one for all tests of this process."""
    if not _made:
        project = Project(factory.mktemp("database"))
        done = project.manage("migrate")
        assert done.returncode == 0, done.stderr
        project.shell(USERS)
        _made.append(project.folder / "board.sqlite3")
    return _made[0]
