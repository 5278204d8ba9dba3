"""docs/features.md names only tests that exist, and each of its rows says how it is shown. The tests are read, not imported."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?P<what>.+) \| (?P<proof>.+) \|$", re.MULTILINE)
TEST = re.compile(r"(?P<path>tests/[\w/]+\.py)::(?P<name>\w+(?:::\w+)*)")
WITHOUT = ("not built", "no test yet", "does not apply")
HEAD = "test"


def names_in(path: Path) -> Iterator[str]:
    """What pytest calls the tests of a file: functions, and the methods of classes behind the class's name."""
    if not path.is_file():
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (f"{node.name}::{method.name}" for method in node.body if isinstance(method, ast.FunctionDef))


def test_every_test_that_is_named_exists() -> None:
    named: dict[str, set[str]] = {}
    for found in TEST.finditer(PAGE):
        named.setdefault(found["path"], set()).add(found["name"])
    assert named, "nothing on the page looks like path::name"
    missing = [f"{path}::{name}" for path, names in named.items() for name in names - {*names_in(ROOT / path)}]
    assert missing == []


def test_every_row_names_a_test_or_says_that_there_is_none() -> None:
    rows = [(row["what"], row["proof"]) for row in ROW.finditer(PAGE) if row["proof"] != HEAD]
    assert rows
    assert [what for what, proof in rows if TEST.search(proof) is None and not proof.startswith(WITHOUT)] == []
