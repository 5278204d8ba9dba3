"""
``shmchan stats``: what a running instance does, for a person or as JSON.

Owns the tables. What is counted, and why, belongs to the layer and to the front. Runs in a process of its
own that attaches, reads and leaves.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from shmchan.cli.settings import format_size, option

COLUMNS = (
    ("channel", "name"),
    ("waiting", "messages_pending"),
    ("oldest", "messages_max_age"),
    ("sent", "messages_count"),
    ("per s", "messages_count_per_second"),
)
"""Headings and keys of the channels; after them comes one column for each cause of drops that ever happened."""


@click.command()
@option("--name", default="default", help="Name of the instance.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def stats(name: str, as_json: bool) -> None:
    """Show what a running instance does: what waits, what was sent, and every drop by its cause, of channels and of the front."""
    from shmchan.layers.shm import ShmChannelLayer

    with ShmChannelLayer.attach(name) as layer:
        total: Mapping[str, Any] = layer.global_statistics()
        channels: Sequence[Mapping[str, Any]] = layer.all_channel_statistics()
        front = layer.front_statistics()
    if as_json:
        click.echo(json.dumps({"name": name, "global": total, "channels": channels, "front": front}))
    else:
        click.echo("\n\n".join((summary(name, total), table(folded(channels)), front_table(front))))


def summary(name: str, total: Mapping[str, Any]) -> str:
    """The instance in three lines."""
    used, memory = total["memory_used"], total["memory_total"]
    dropped = ", ".join(f"{count} {cause}" for cause, count in total["dropped"].items() if count) or "nothing"
    return "\n".join(
        (
            f"instance {name}: {total['processes']} processes, {total['connections']} connections, {total['groups']} groups, "
            f"{format_size(used)} of {format_size(memory)} used ({used / memory:.0%})",
            f"messages: {total['messages_count']} sent ({total['messages_count_per_second']:.0f} per s), "
            f"{total['messages_pending']} waiting, the oldest for {total['messages_max_age']:.1f} s",
            f"dropped in channels: {dropped}",
        )
    )


def folded(channels: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """
    The same rows, but one for all made-up channels of a prefix: ``shmchan.delay.answer?`` for each ``shmchan.delay.answer?x``.

    Every `new_channel` has a row of its own in the layer, of one message or two; together they still tell something. Numbers are
    added, of ages the highest counts.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    for row in channels:
        prefix, mark, _ = row["name"].partition("?")
        name = prefix + mark
        before = rows.get(name)
        if before is not None:
            row = {
                **row,
                **{key: before[key] + row[key] for key in ("messages_pending", "messages_count", "messages_count_per_second")},
                "messages_max_age": max(before["messages_max_age"], row["messages_max_age"]),
                "dropped": {cause: before["dropped"][cause] + count for cause, count in row["dropped"].items()},
            }
        rows[name] = {**row, "name": name}
    return [*rows.values()]


def front_table(front: Mapping[str, int]) -> str:
    """One line for each thing that the front counted at least once, in its order."""
    counts = {name: str(count) for name, count in front.items() if count}
    if not counts:
        return "The front has counted nothing yet."
    names = max(len(name) for name in ("front", *counts))
    numbers = max(len(count) for count in ("count", *counts.values()))
    return "\n".join(f"{name.ljust(names)}  {count.rjust(numbers)}" for name, count in (("front", "count"), *counts.items()))


def table(channels: Sequence[Mapping[str, Any]]) -> str:
    """One line for each channel, the busiest first; numbers stand to the right."""
    if not channels:
        return "No channel has been used yet."
    causes = list(dict.fromkeys(cause for row in channels for cause, count in row["dropped"].items() if count))
    lines = [[heading for heading, _ in COLUMNS] + causes]
    for row in sorted(channels, key=lambda row: (-row["messages_count"], row["name"])):
        lines.append([cell(row[key]) for _, key in COLUMNS] + [cell(row["dropped"][cause]) for cause in causes])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = []
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))]
        shown.append("  ".join(cells))
    return "\n".join(shown)


def cell(value: str | int | float) -> str:
    """A value as it stands in the table."""
    return f"{value:.1f}" if isinstance(value, float) else str(value)
