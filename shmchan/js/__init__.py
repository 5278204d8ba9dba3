"""
The browser's side: ``shmchan.js``, which is also a module, and its types for TypeScript.

Owns where these files lie. With `run --js-path` the front serves them; whatever else serves static files can be pointed at
`FOLDER`.
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""Where the files lie."""


def scripts(js_path: str | None) -> list[tuple[str, str]]:
    """URL and file of what a page may load, where ``js_path`` is the URL of ``shmchan.js``: itself, and ``.mjs`` beside it."""
    if js_path is None:
        return []
    return [(js_path, str(FOLDER / "shmchan.js")), (js_path.removesuffix("js") + "mjs", str(FOLDER / "shmchan.mjs"))]
