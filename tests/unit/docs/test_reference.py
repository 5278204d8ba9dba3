"""Every public name has a docstring and is in docs/reference. Neither Sphinx nor the names themselves are needed: all is read."""

import re
from pathlib import Path

import pytest

from tests.unit.docs.public_names import INTERNAL, PUBLIC, ROOT, find, has_all, methods, public_names, tree_of

REFERENCE = ROOT / "docs" / "reference"
DIRECTIVE = re.compile(
    r"^ *\.\. (?:(?:py:)?(?:function|decorator|data|class)|auto(?:class|exception|function|data)):: (?P<name>[\w.]+)",
    re.MULTILINE,
)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def in_the_reference() -> set[str]:
    return {found["name"] for page in REFERENCE.glob("*.rst") for found in DIRECTIVE.finditer(page.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_explained(module: str) -> None:
    silent = []
    for name in public_names(module):
        found = find(module, name)
        assert found is not None, f"{module}.{name} is nowhere to be found"
        if not found.text:
            silent.append(name)
        silent += [f"{name}.{method}" for method, text in methods(found) if not text]
    assert silent == [], "write a docstring, or below an assignment a string"


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    written = in_the_reference()
    elsewhere = {find(*name.rpartition(".")[::2]) for name in written}
    missing = [name for name in public_names(module) if f"{module}.{name}" not in written and find(module, name) not in elsewhere]
    assert missing == [], "give it a directive on a page of docs/reference"


def test_what_the_reference_names_is_there() -> None:
    assert [name for name in sorted(in_the_reference()) if find(*name.rpartition(".")[::2]) is None] == []


def test_a_module_that_says_what_is_public_in_it_was_decided_on() -> None:
    undecided = []
    for path in sorted(ROOT.glob("shmchan/**/*.py")):
        module = module_of(path)
        tree = tree_of(module)
        internal = any(f"{module}.".startswith(f"{one}.") for one in INTERNAL)
        if tree is not None and has_all(tree) and module not in PUBLIC and not internal:
            undecided.append(module)
    assert undecided == [], "list it as public or as internal in tests/unit/docs/public_names.py"
