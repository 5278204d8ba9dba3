"""
What is public, read from the source and not imported: the names of each public module, where each is made, what is said of it.

Owns the list of public modules. Tests run it.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]

PUBLIC = (
    "shmchan",
    "shmchan.auth",
    "shmchan.binding",
    "shmchan.binding.sqlalchemy",
    "shmchan.binding.websockets",
    "shmchan.channel",
    "shmchan.contrib.django",
    "shmchan.delay",
    "shmchan.exceptions",
    "shmchan.generic",
    "shmchan.generic.websockets",
    "shmchan.http",
    "shmchan.js",
    "shmchan.layers",
    "shmchan.message",
    "shmchan.pytest_plugin",
    "shmchan.resume",
    "shmchan.routing",
    "shmchan.security.websockets",
    "shmchan.sessions",
    "shmchan.signals",
    "shmchan.test",
    "shmchan.testing",
)

INTERNAL = (
    "shmchan.bench",
    "shmchan.cli",
    "shmchan.examples",
    "shmchan.front",
    "shmchan.layers.shm",  # its names are those of shmchan.layers
    "shmchan.protocol",
    "shmchan.supervisor",
    "shmchan.worker",
)
"""Modules, with all that is in them, that have ``__all__`` for each other and nothing for applications."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Found(NamedTuple):
    """
    Where a name is made.

    Attributes:
        module: dotted.
        name: its own.
        node: the class or function, None for anything else.
        text: its docstring, or the string below an assignment; None if there is none.
    """

    module: str
    name: str
    node: Definition | None
    text: str | None


@functools.cache
def tree_of(module: str) -> ast.Module | None:
    """The source of a module of ours, parsed; None for any other."""
    path = ROOT.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if module.startswith("shmchan") and file.is_file():
            return ast.parse(file.read_text(encoding="utf-8"))
    return None


def has_all(tree: ast.Module) -> bool:
    """Whether a module says by ``__all__`` what is public in it."""
    return any("__all__" in assigned(node) for node in tree.body)


def public_names(module: str) -> list[str]:
    """``__all__``; without it, what a module defines or explains and what does not begin with an underscore."""
    tree = tree_of(module)
    assert tree is not None, f"there is no module {module}"
    names: list[str] = []
    for node, below in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.Assign) and "__all__" in assigned(node):
            return list(ast.literal_eval(node.value))
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            names.append(node.name)
        elif text_of(below) is not None:
            names += assigned(node)
    return [name for name in names if not name.startswith("_")]


def find(module: str, name: str) -> Found | None:
    """Where a name of a module is made, through imports (also those in functions and for types only) and aliases."""
    tree = tree_of(module)
    if tree is None:
        return None
    for node, below in reversed([*zip(tree.body, [*tree.body[1:], None], strict=True)]):  # an overload's last one has the text
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)) and node.name == name:
            return Found(module, name, node, ast.get_docstring(node))
        if name in assigned(node):
            value = getattr(node, "value", None)
            alias = find(module, value.id) if isinstance(value, ast.Name) else None
            return alias or Found(module, name, None, text_of(below))
    for part in ast.walk(tree):
        if isinstance(part, ast.ImportFrom) and part.module:
            for imported in part.names:
                if (imported.asname or imported.name) == name:
                    return find(part.module, imported.name)
    return None


def methods(found: Found) -> Iterator[tuple[str, str | None]]:
    """The public methods of a class, each with its docstring or that of the base that it overrides."""
    if not isinstance(found.node, ast.ClassDef):
        return
    for node in found.node.body:
        setter = isinstance(node, FUNCTIONS) and any(isinstance(one, ast.Attribute) for one in node.decorator_list)
        if isinstance(node, FUNCTIONS) and not setter and not node.name.startswith("_"):
            yield node.name, ast.get_docstring(node) or inherited(found, node.name)


def inherited(found: Found, method: str) -> str | None:
    """What the nearest base of ours says of a method."""
    assert isinstance(found.node, ast.ClassDef)
    for written in found.node.bases:
        base = find(found.module, written.id) if isinstance(written, ast.Name) else None
        if base is None or not isinstance(base.node, ast.ClassDef):
            continue
        for own in base.node.body:
            if isinstance(own, FUNCTIONS) and own.name == method and (text := ast.get_docstring(own)):
                return text
        if text := inherited(base, method):
            return text
    return None


def assigned(node: ast.stmt | None) -> list[str]:
    """The names that a statement assigns to."""
    if isinstance(node, ast.AnnAssign):
        targets: list[ast.expr] = [node.target]
    elif isinstance(node, ast.Assign):
        targets = [one for target in node.targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
    else:
        return []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def text_of(node: ast.stmt | None) -> str | None:
    """The string that a statement is."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return None
