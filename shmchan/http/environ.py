"""
An ``http.request`` as the environ of PEP 3333.

Owns which key of the message becomes which key of the environ. It never reads the body. Workers run it.
"""

import sys
from collections.abc import Mapping
from typing import Any, BinaryIO


def make_environ(message: Mapping[str, Any], body: BinaryIO) -> dict[str, Any]:
    """
    The environ of a request.

    ``path`` holds the ``root_path``, which becomes SCRIPT_NAME; the rest is PATH_INFO. Text is latin-1 of the bytes that came, as
    PEP 3333 has it. The end of ``body`` is the end of the body, whatever its length is said to be (``wsgi.input_terminated``).

    Args:
        message: the content of an ``http.request``.
        body: what ``wsgi.input`` is.
    """
    root, path = message.get("root_path") or "", message["path"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": message["method"],
        "SCRIPT_NAME": _as_latin(root),
        "PATH_INFO": _as_latin(path[len(root) :] if path == root or path.startswith(root + "/") else path),
        "QUERY_STRING": (message.get("query_string") or b"").decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{message.get('http_version') or '1.1'}",
        "SERVER_SOFTWARE": "shmchan",
        "REMOTE_ADDR": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": message.get("scheme") or "http",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in message.get("headers") or ():
        key, text = name.decode("latin-1").upper().replace("-", "_"), value.decode("latin-1")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
            if key in environ:
                text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text
    if environ.get("HTTP_TRANSFER_ENCODING") and "body_channel" not in message:
        # A chunked body that came whole is one whose length is known; many applications read nothing without a length.
        del environ["HTTP_TRANSFER_ENCODING"]
        environ["CONTENT_LENGTH"] = str(len(message.get("body") or b""))
    client, server = message.get("client"), message.get("server")
    if client:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
    environ["SERVER_NAME"], environ["SERVER_PORT"] = (server[0], str(server[1])) if server else _named_server(environ)
    return environ


def _named_server(environ: Mapping[str, Any]) -> tuple[str, str]:
    """On a Unix socket there is no address, but PEP 3333 wants one: that which the client named."""
    host, colon, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not colon or port.endswith("]"):
        host, port = environ.get("HTTP_HOST", ""), ""
    return host or "localhost", port or ("443" if environ["wsgi.url_scheme"] == "https" else "80")


def _as_latin(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")
