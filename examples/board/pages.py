"""
The page: the files of ``page/`` and ``shmchan.js`` over HTTP, with the headers that keep foreign scripts out.

Owns nothing but these files; each is read once, when a worker imports this module, and no path from outside reaches the file
system. The workers run it.
"""

from pathlib import Path

from shmchan import Message, js
from shmchan.http import Response

FOLDER = Path(__file__).parent / "page"
KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PATHS = {f"/{path.name}": path for path in (*FOLDER.iterdir(), js.FOLDER / "shmchan.js") if path.suffix in KINDS}
FILES = {url: (path.read_bytes(), KINDS[path.suffix]) for url, path in PATHS.items()}
FILES["/"] = FILES.pop("/index.html")
SAFETY = [
    (
        "content-security-policy",
        "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-cache"),
]


def serve(message: Message) -> Response:
    """Answer one ``http.request`` with a file of the page, 404 or 405."""
    if message["method"] not in ("GET", "HEAD"):
        return Response("This page can only be read: use GET.\n", 405, [("allow", "GET, HEAD"), *SAFETY])
    if message["path"] not in FILES:
        return Response("There is nothing here. The board is at /.\n", 404, [("content-type", "text/plain"), *SAFETY])
    content, kind = FILES[message["path"]]
    return Response(content, headers=[("content-type", kind), *SAFETY])
