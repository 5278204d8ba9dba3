"""
``shmchan delay``: what waits to go out later, of a running instance or in a file, seen and taken away by hand.

Owns the actions and the table. A running instance's delay process is asked as by `shmchan.delay`; the heap of a file that nobody
uses is opened here. Runs in a process of its own.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import click

from shmchan.cli.settings import option
from shmchan.delay.api import Scheduled, ask, page
from shmchan.delay.heap import Heap
from shmchan.delay.service import PAGE_ROWS, PURGE_ROWS, scheduled
from shmchan.exceptions import ConfigError, NoInstance
from shmchan.layers.base import BaseChannelLayer
from shmchan.state import state_folder

COLUMNS = ("id", "due", "channel", "every", "tries", "content")
SHOWN = 60
"""Characters of a content that the table shows."""

ACTIONS = {"list": "[CHANNEL]", "cancel": "ID", "purge": "[CHANNEL]", "stats": ""}


class Where(Protocol):
    """A heap, whoever has it."""

    def page(self, channel: str | None, after: int) -> tuple[list[Scheduled], int | None]:
        """A part of what waits, and from where to go on."""

    def cancel(self, ident: str) -> bool:
        """Take one away; whether it was there."""

    def purge(self, channel: str | None) -> int:
        """Take some away; how many."""

    def statistics(self) -> dict[str, Any]:
        """What was counted."""


class Running:
    """That of a running instance."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self.layer = layer

    def page(self, channel: str | None, after: int) -> tuple[list[Scheduled], int | None]:
        return page(self.layer, channel, after)

    def cancel(self, ident: str) -> bool:
        return bool(ask(self.layer, {"request": "cancel", "id": ident})["done"])

    def purge(self, channel: str | None) -> int:
        chosen = {} if channel is None else {"channel": channel}
        return int(ask(self.layer, {"request": "purge", **chosen})["purged"])

    def statistics(self) -> dict[str, Any]:
        return ask(self.layer, {"request": "stats"})


class File:
    """That of a file."""

    def __init__(self, heap: Heap) -> None:
        self.heap = heap

    def page(self, channel: str | None, after: int) -> tuple[list[Scheduled], int | None]:
        rows = self.heap.page(channel, after, PAGE_ROWS)
        skew = int(self.heap.state("skew") or 0)
        return [scheduled(row, skew) for row in rows], rows[-1].n if len(rows) == PAGE_ROWS else None

    def cancel(self, ident: str) -> bool:
        with self.heap.transaction(durable=True):
            return self.heap.cancel(ident)

    def purge(self, channel: str | None) -> int:
        with self.heap.transaction(durable=True):
            return self.heap.purge(channel, PURGE_ROWS)

    def statistics(self) -> dict[str, Any]:
        return {**self.heap.statistics(), "path": str(self.heap.path)}


@click.command()
@click.argument("action", type=click.Choice(list(ACTIONS)))
@click.argument("subject", metavar="[CHANNEL|ID]", required=False)
@option("--name", default="default", help="Name of the instance.")
@click.option("--db", type=click.Path(path_type=Path), help="A file, instead of a running instance.")
@click.option("--json", "as_json", is_flag=True, help="list and stats: JSON, an object each line.")
def delay(action: str, subject: str | None, name: str, db: Path | None, as_json: bool) -> int:
    """What waits to go out later: list [CHANNEL], cancel ID, purge [CHANNEL], stats.

    Of the running instance NAME; of its file if it does not run; or of the file that --db names.
    """
    if (subject is None) != (action == "stats") and action in ("cancel", "stats"):
        raise ConfigError(f"write: shmchan delay {action} {ACTIONS[action]}".rstrip())
    with opened(name, db, read_only=action in ("list", "stats")) as where:
        if action == "list":
            show_list(where, subject, as_json)
        elif action == "stats":
            show_statistics(where.statistics(), as_json)
        elif action == "purge":
            purge(where, subject)
        elif not where.cancel(str(subject)):
            click.echo(f"nothing waits under the id {subject}", err=True)
            return 1
    return 0


@contextmanager
def opened(name: str, db: Path | None, read_only: bool) -> Iterator[Where]:
    """
    The heap that is meant.

    Raises:
        NoInstance: nothing of this name runs, and its file is not where it is by default.
        HeapError: the file cannot be used.
    """
    from shmchan.layers.shm import ShmChannelLayer

    if db is None:
        try:
            layer = ShmChannelLayer.attach(name)
        except NoInstance:
            db = state_folder(name) / "delay.db"
            if not db.exists():
                raise
        else:
            with layer:
                yield Running(layer)
            return
    with Heap(db, read_only=read_only or not db.exists()) as heap:  # nobody makes one by asking for it
        yield File(heap)


def show_list(where: Where, channel: str | None, as_json: bool) -> None:
    """A line for each that waits, a page at a time."""
    after: int | None = 0
    shown = 0
    with progress(where, shown=not sys.stdout.isatty()) as advance:
        while after is not None:
            rows, after = where.page(channel, after)
            for line in lines(rows, as_json, heading=not shown):
                click.echo(line)
            shown += len(rows)
            advance(len(rows))
    if not shown and not as_json:
        click.echo("Nothing waits." if channel is None else f"Nothing waits for {channel}.")


def lines(rows: list[Scheduled], as_json: bool, heading: bool) -> Iterator[str]:
    """A page of the list."""
    if as_json:
        yield from (json.dumps(row.__dict__, default=bytes.hex) for row in rows)
        return
    table = [cells(row) for row in rows]
    if heading and table:
        table.insert(0, list(COLUMNS))
    widths = [max((len(line[column]) for line in table), default=0) for column in range(len(COLUMNS))]
    for line in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def cells(row: Scheduled) -> list[str]:
    """The columns of one that waits."""
    every = "" if row.every is None else row.every if isinstance(row.every, str) else f"{row.every:g} s"
    content = "(long)" if row.content is None else repr(row.content)
    if len(content) > SHOWN:
        content = content[: SHOWN - 1] + "…"
    return [row.id, local_time(row.due), row.channel, every, str(row.tries), content]


def local_time(seconds: float) -> str:
    """``2026-11-21 19:04:24``; what is beyond the calendar is told in seconds."""
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f}"


def show_statistics(found: dict[str, Any], as_json: bool) -> None:
    """What was counted since the file was made."""
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(map(len, found))
    for key, value in found.items():
        click.echo(f"{key.replace('_', ' ').ljust(width)}  {value}")


def purge(where: Where, channel: str | None) -> None:
    """Take all away, of one channel or of every one."""
    total = 0
    with progress(where, shown=True) as advance:
        while part := where.purge(channel):
            total += part
            advance(part)
    click.echo(f"{total} taken away")


@contextmanager
def progress(where: Where, shown: bool) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, as long as what waits; what advances it."""
    if not shown or not sys.stderr.isatty():
        yield lambda more: None
        return
    with click.progressbar(length=max(1, int(where.statistics()["pending"])), file=sys.stderr, label="messages") as bar:
        yield bar.update
