"""The pages in docs/: each can be reached, each link leads somewhere, the tables of settings, loggers and counters are whole."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmchan.cli.run import run
from shmchan.front.counters import NAMES
from tests.unit.docs.public_names import ROOT

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:)(?P<file>[^)#\s]*)#?(?P<anchor>[^)\s]*)\)")
HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<key>[\w.-]+)` \| (?P<rest>.+) \|$", re.MULTILINE)


def prose(path: Path) -> str:
    """A page without its code."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """What headings are called in links, as GitHub and MyST do it."""
    plain = (re.sub(r"[^\w\- ]", "", found["text"].lower()) for found in HEADING.finditer(prose(path)))
    return {text.replace(" ", "-") for text in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for found in LINK.finditer(prose(page)):
        target = page.parent / found["file"] if found["file"] else page
        if not target.exists() or (found["anchor"] and found["anchor"] not in anchors(target)):
            lost.append(found[0])
    assert lost == []


def in_tables_of_contents() -> Iterator[str]:
    """The pages that the front page lists."""
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                yield line.rpartition("<")[2].rstrip(">")


def test_every_page_is_in_the_table_of_contents() -> None:
    written = {page.stem for page in DOCS.iterdir() if page.suffix in (".md", ".rst") and page.stem != "index"}
    listed = {name for name in in_tables_of_contents() if "/" not in name}
    assert written ^ listed == set(), "list it in a {toctree} of docs/index.md"


def test_every_option_of_run_is_in_the_table_of_settings() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    written = {found["key"]: found["rest"].split(" | ")[0].strip("`") for found in ROW.finditer(text)}
    options = {str(one.name).replace("_", "-"): one.envvar for one in run.params}
    assert {key: written.get(key) for key in options} == options, "docs/settings.md names the options of `shmchan run`"
    variables = {"SHMCHAN_NAME", "SHMCHAN_SECRET", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"}
    assert written.keys() - options.keys() == variables


def test_every_logger_is_in_the_table_of_loggers() -> None:
    used = set()
    for path in ROOT.glob("shmchan/**/*.py"):
        used |= set(re.findall(r'getLogger\("(shmchan[.\w]*)"\)', path.read_text(encoding="utf-8")))
    text = (DOCS / "running.md").read_text(encoding="utf-8").partition("\n## Loggers\n")[2].partition("\n## ")[0]
    assert {found["key"] for found in ROW.finditer(text)} == used | {"shmchan"}


def test_every_counter_of_the_front_is_explained() -> None:
    text = (DOCS / "running.md").read_text(encoding="utf-8").partition("\n## What the front counts\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    assert [name for row in rows for name in re.findall(r"`([\w.]+)`", row)] == [*NAMES]
