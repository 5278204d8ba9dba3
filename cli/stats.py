"""
``shmchan stats``: what a running instance does, for a person or as JSON.

Owns the table. What is counted, and why, belongs to the layer. Runs in a process of its own that attaches, reads and leaves.
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
"""Headings and keys; after them comes one column for each cause of drops that ever happened."""


@click.command()
@option("--name", default="default", help="Name of the instance.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def stats(name: str, as_json: bool) -> None:
    """Show what a running instance does: what waits, what was sent, and every drop by its cause."""
    from shmchan.layers.shm import ShmChannelLayer

    with ShmChannelLayer.attach(name) as layer:
        total: Mapping[str, Any] = layer.global_statistics()
        channels: Sequence[Mapping[str, Any]] = layer.all_channel_statistics()
    if as_json:
        click.echo(json.dumps({"name": name, "global": total, "channels": channels}))
    else:
        click.echo(summary(name, total) + "\n\n" + table(channels))


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
            f"dropped: {dropped}",
        )
    )


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
