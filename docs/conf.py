"""
How the documentation is built: ``make docs``, into build/docs.

Owns what Sphinx is told. The pages are docs/*.md, which read as well where they lie; the reference in docs/reference takes its
words from the docstrings. Nothing is fetched while it is built.
"""

import enum
import importlib
import re
import sys
from importlib.metadata import version as version_of
from typing import Any

import django.conf
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

django.conf.settings.configure()  # what shmchan.contrib.django asks for when it is imported; the defaults do

project = "shmchan"
copyright = "the shmchan developers"
version = release = version_of("shmchan")
html_title = f"shmchan {version}"
html_theme = "furo"
html_static_path = ["theme"]
html_css_files = ["shmchan.css"]
html_copy_source = False

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser", "sphinx_click"]
myst_heading_anchors = 3
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

default_role = "py:obj"  # `send` in a docstring is a link where it names something, and code where it does not
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
# Fields of several names, as in `text, bytes: what is in it`, stay together.
napoleon_use_param = False
napoleon_custom_sections = [("Attributes", "params_style")]

# Every reference has to lead somewhere, except these.
nitpick_ignore_regex = [
    (r"py:obj", r".*"),  # the default role: also names of arguments, commands and what else stands in single quotes
    (r"py:.*", rf"({'|'.join(sys.stdlib_module_names)})\..*"),  # Python's own, whose documentation is not at hand
    (r"py:.*", r"(django|sqlalchemy|werkzeug)\..*"),
    (r"py:exc", r"InvalidRequestError"),  # SQLAlchemy's
    (r"py:class", r"shmchan\.(parallel\.C|.*\.Consumer)"),  # type variables
    (r"py:.*", r"(.*\.)?_\w+"),  # what is private may stand in a signature
]


# Types stand in signatures, so what is before a colon below "Returns:", or in a property's docstring, is no type but words.
# Napoleon has no option for that.


def _returns(self: Any, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
    return [("", "", self._dedent(self._consume_to_next_section()))]


def _property(self: Any) -> tuple[str, list[str]]:
    return "", GoogleDocstring(self._dedent(self._consume_to_end()), self._config).lines()


GoogleDocstring._consume_returns_section = _returns
GoogleDocstring._consume_inline_attribute = _property


def by_its_last_name(app: Sphinx, env: Any, node: Any, shown: nodes.Element) -> nodes.reference | None:
    """Make `Channel` a link also in the docstring of another module, if only one public name ends in that."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or node["reftype"] != "obj" or not target[:1].isupper():
        return None
    kinds = ("class", "exception")
    known = env.get_domain("py").objects.items()
    found = {(entry.docname, entry.node_id) for name, entry in known if entry.objtype in kinds and name.endswith(f".{target}")}
    if len(found) != 1:
        return None
    page, anchor = found.pop()
    return make_refnode(app.builder, node["refdoc"], page, anchor, [shown])


def tidied(app: Sphinx, context: Any, lines: list[str]) -> None:
    """In what the command line says, options keep both dashes, and defaults are shown where there are any, as one types them."""
    none = (":default: ``Sentinel.UNSET``", ":default: ``''``")
    lines[:] = [line for line in lines if line.strip() not in none]
    for number, line in enumerate(lines):
        if not line.startswith(".. "):
            line = re.sub(r":default: ``'(.*)'``", r":default: ``\1``", line)
            lines[number] = re.sub(r"(?<![\w`-])--[a-z][a-z-]+", r"``\g<0>``", line)


def without_the_inside(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Leave out the paragraph in which a module tells developers what it owns and never does."""
    if what == "module":
        text = "\n".join(lines).split("\n\n")
        lines[:] = "\n\n".join(part for part in text if not part.startswith("Owns ")).split("\n")


class Transitions(SphinxDirective):
    """The TRANSITIONS of a module, drawn: a row for each state, a column for each thing that happens."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        table = importlib.import_module(self.arguments[0]).TRANSITIONS
        happens = list(dict.fromkeys(what for _, what in table))
        states = list(dict.fromkeys([*(state for state, _ in table), *table.values()]))
        lines = [".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", "", "   * - "]
        lines += [f"     - {shown(what)}" for what in happens]
        for state in states:
            lines.append(f"   * - {shown(state)}")
            lines += [f"     - {shown(table[state, what]) if (state, what) in table else ''}" for what in happens]
        return self.parse_text_to_nodes("\n".join(lines))


def shown(state: Any) -> str:
    """How a table names a state or an event."""
    return str(state.value if isinstance(state, enum.Enum) else state).lower()


def setup(app: Sphinx) -> None:
    """What Sphinx calls with this file."""
    app.add_directive("transitions", Transitions)
    app.connect("autodoc-process-docstring", without_the_inside)
    app.connect("missing-reference", by_its_last_name)
    for part in ("description", "options"):
        app.connect(f"sphinx-click-process-{part}", tidied)
