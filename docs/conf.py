"""
How the documentation is built: ``make docs``, into build/docs.

Owns what Sphinx is told. The pages are docs/*.md, which read as well where they lie; the reference in docs/reference takes its
words from the docstrings. Nothing is fetched while it is built.
"""

import sys
from importlib.metadata import version as version_of
from typing import Any

import django.conf
from sphinx.ext.napoleon.docstring import GoogleDocstring

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
smartquotes = False  # options keep their two dashes
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
