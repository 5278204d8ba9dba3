"""The Django project in tests/projects: django-admin for it, and what the environment has to say to it."""

import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT, environment

PROJECTS = ROOT / "tests" / "projects"


def django(folder: Path, *arguments: str, **changes: str) -> str:
    """Run django-admin for the project that keeps its things in a folder; returns what it printed."""
    changes |= {"SHELF_FOLDER": str(folder), "DJANGO_SETTINGS_MODULE": "shelf.settings", "PYTHONPATH": str(PROJECTS)}
    command = [sys.executable, "-m", "django", *arguments]
    done = subprocess.run(command, env={**environment(), **changes}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def migrate(folder: Path) -> None:
    """Make the project's database."""
    django(folder, "migrate", "--verbosity", "0")
