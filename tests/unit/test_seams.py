"""The walls between the rooms, read from the imports: who may know whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.relative_to(ROOT) for room in ("shmchan", "cli") for path in (ROOT / room).rglob("*.py"))
INPUT_AND_OUTPUT = ("asyncio", "socket", "select", "selectors", "ssl", "mmap", "time", "threading", "uvloop")
LONGEST = 600

# A room, what it may not import, and why.
WALLS = [
    ("shmchan/protocol", INPUT_AND_OUTPUT, "bytes and times go in, events and bytes come out: it is tested without waiting"),
    ("shmchan/protocol", ("shmchan.layers", "shmchan.front", "shmchan.worker"), "it knows nobody"),
    ("shmchan/front", ("shmchan.worker", "shmchan.routing", "shmchan.message", "shmchan.channel"), "it has no application code"),
    ("shmchan/worker", ("shmchan.front", "shmchan.protocol"), "it has no connection"),
    ("shmchan/layers", ("shmchan.front", "shmchan.worker", "shmchan.supervisor", "shmchan.cli"), "it is below them all"),
    ("shmchan", ("pickle", "marshal", "shelve"), "what a peer wrote is never executed"),
]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of whatever a module imports, anywhere in it."""
    package = path.with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            yield from ((node.lineno, f"{module}.{name.name}") for name in node.names)


def is_within(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


@pytest.mark.parametrize(("room", "forbidden", "why"), WALLS, ids=[f"{room}-{names[0]}" for room, names, _ in WALLS])
def test_a_room_does_not_import(room: str, forbidden: tuple[str, ...], why: str) -> None:
    found = [
        f"{path}:{line} imports {name}"
        for path in MODULES
        if path.is_relative_to(room)
        for line, name in imports(path)
        if is_within(name, forbidden)
    ]
    assert found == [], why


def test_only_the_shared_layer_touches_the_core() -> None:
    importers = {str(path) for path in MODULES for _, name in imports(path) if is_within(name, ("shmchan._core",))}
    assert all(Path(path).is_relative_to("shmchan/layers") for path in importers), importers


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_opens_with_a_paragraph_and_stays_readable(path: Path) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), f"{path} does not say what it owns"
    assert source.count("\n") <= LONGEST, f"{path} outgrew {LONGEST} lines: look for a second noun in it"


def test_every_package_is_shipped() -> None:
    folders = {".".join(path.parent.parts) for path in MODULES if path.parts[0] == "shmchan"}
    packages = set(find_packages(str(ROOT), include=["shmchan*"]))
    assert folders <= packages, "a folder without __init__.py would be missing from the wheel"
    assert "shmchan.cli" in packages
