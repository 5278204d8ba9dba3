"""`make docs` builds, with warnings as errors: every name that the pages and the docstrings refer to is there."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docs.public_names import ROOT


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="Sphinx is not installed (pip install -e '.[docs]')")
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "trees"), "docs", str(tmp_path / "html")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for page, text in (
        ("reference/channels", 'id="shmchan.Group.send"'),
        ("reference/cli", 'id="cmdoption-shmchan-run-workers"'),
        ("states", "no answer to our close"),
    ):
        assert text in (tmp_path / "html" / f"{page}.html").read_text(encoding="utf-8")
