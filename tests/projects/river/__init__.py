"""A WSGI application of long bodies, both ways. It notes in the folder RIVER_FOLDER what a test wants to know of its inside."""

import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

PIECE = 1 << 16
MIB = 1 << 20
FOLDER = Path(os.environ["RIVER_FOLDER"])


def note(name: str, text: object) -> None:
    """Replace a note, in one step."""
    FOLDER.mkdir(exist_ok=True)
    new = FOLDER / f"{name}.{os.getpid()}"
    new.write_text(str(text))
    new.replace(FOLDER / name)


def piece(number: int) -> bytes:
    return number.to_bytes(8, "big") * (PIECE // 8)


def down(environ: dict[str, Any], mebibytes: int) -> Iterator[bytes]:
    noted = bool(environ["QUERY_STRING"])
    if noted:
        note("channel", environ["shmchan.message"].reply_channel)
    sent = 0
    try:
        for number in range(mebibytes * MIB // PIECE):
            yield piece(number)
            sent += PIECE
            if noted:
                note("sent", sent)
    finally:
        if noted:
            note("closed", sent)


def up(environ: dict[str, Any]) -> str:
    body, size, check = environ["wsgi.input"], 0, 0
    if environ["QUERY_STRING"]:
        note("channel", environ["shmchan.message"]["body_channel"])
        while not (FOLDER / "go").exists():
            time.sleep(0.01)
    while data := body.read(PIECE):
        size += len(data)
        check = zlib.crc32(data, check)
    return f"{size} {check}"


def whole(environ: dict[str, Any]) -> str:
    data = environ["wsgi.input"].read()
    return f"{len(data)} {zlib.crc32(data)}"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    what, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
    if what == "down":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return down(environ, int(rest))
    answer = up(environ) if what == "up" else whole(environ) if what == "whole" else str(os.getpid())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]
