"""
The page: the files of ``page/`` over HTTP, with the headers that keep foreign scripts out.

Only the files named here are ever read, each once, when a worker imports this module; no path from outside
reaches the file system.
"""

from pathlib import Path

from shmchan import Message

FOLDER = Path(__file__).parent / "page"
KINDS = {".html": b"text/html; charset=utf-8", ".css": b"text/css", ".js": b"text/javascript", ".svg": b"image/svg+xml"}
FILES = {
    url: ((FOLDER / name).read_bytes(), KINDS[Path(name).suffix])
    for url, name in {
        "/": "index.html",
        "/chat.css": "chat.css",
        "/chat.js": "chat.js",
        "/link.js": "link.js",
        "/roster.js": "roster.js",
        "/icon.svg": "icon.svg",
    }.items()
}
SAFETY = [
    [
        b"content-security-policy",
        b"default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ],
    [b"x-content-type-options", b"nosniff"],
    [b"referrer-policy", b"no-referrer"],
    [b"cache-control", b"no-cache"],
]


def serve(message: Message) -> None:
    """Answer one ``http.request`` with a file of the page, 404 or 405."""
    status, kind, content, more = 200, b"text/plain; charset=utf-8", b"", []
    if message["method"] not in ("GET", "HEAD"):
        status, content, more = 405, b"This page can only be read: use GET.\n", [[b"allow", b"GET, HEAD"]]
    elif message["path"] in FILES:
        content, kind = FILES[message["path"]]
    else:
        status, content = 404, b"There is nothing here. The chat is at /.\n"
    message.reply_channel.send({"status": status, "headers": [[b"content-type", kind], *SAFETY, *more], "content": content})
