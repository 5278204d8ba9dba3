"""
``shmchan doctor``: is a segment sound, and what did the processes have in hand that were killed?

Owns what a person reads about it. It never looks into the segment by itself: the layer does. A live instance is checked in place;
what a killed one left behind is looked at in a private copy, and changed only by ``--repair``.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from shmchan.cli.settings import format_size, option

EXIT_UNSOUND = 1
FATES = {
    "drop": "dropped if its worker dies",
    "notify": "its sender is told if its worker dies",
    "redeliver": "redelivered if its worker dies",
    "dead_letter": "a dead letter if its worker dies",
    "not begun": "put back if its worker dies, since no consumer has it yet",
}


@click.command()
@option("--name", default="default", help="Name of the instance.")
@click.option("--repair", is_flag=True, help="Settle what the dead left in hand, and keep the segment.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def doctor(name: str, repair: bool, as_json: bool) -> None:
    """
    Check a segment: every block owned once, every list whole, every counter right.

    Of an instance whose processes were all killed it tells what each had in hand and how full each channel was. Exit code 1: the
    segment is damaged.
    """
    report = examine(name, repair)
    click.echo(json.dumps(report) if as_json else text(report))
    if report["damage"]:
        sys.exit(EXIT_UNSOUND)


def examine(name: str, repair: bool) -> dict[str, Any]:
    """
    Everything the doctor has to say.

    Returns:
        ``name``, ``alive``, ``reaped`` (how many dead processes were settled so far), ``damage`` (a line, or None),
        ``processes``, ``leases``, ``channels`` and ``global``, as the layer's methods of these names give them; each process has
        a ``role`` besides, like "worker 1", or "" if it is no child of a run.
    """
    from shmchan.exceptions import InstanceRunning
    from shmchan.layers.shm import ShmChannelLayer

    layer, reaped, alive = None, 0, True
    if not repair:
        with contextlib.suppress(InstanceRunning):
            layer, alive = ShmChannelLayer.examine(name), False
    if layer is None:
        layer = ShmChannelLayer.attach_left_over(name) or ShmChannelLayer.attach(name)
        layer.keep = True
    with layer:
        rows = [{**row, "role": role_of(row["pid"]) if row["alive"] else ""} for row in layer.processes()]
        found: dict[str, Any] = {"processes": rows, "leases": layer.leases()}
        if alive:
            layer.reap()
            totals: dict[str, Any] = dict(layer.global_statistics())
            reaped = totals["deaths"]
        damage = layer.check()
        return {
            "name": name,
            "alive": alive,
            "reaped": reaped,
            "damage": damage,
            **found,
            "channels": layer.all_channel_statistics(),
            "global": layer.global_statistics(),
        }


def text(report: dict[str, Any]) -> str:
    """The report for people."""
    total = report["global"]
    lines = [f"segment {report['name']}: {format_size(total['memory_used'])} of {format_size(total['memory_total'])} used"]
    if not report["alive"]:
        lines.append("No process is attached: this is what killed ones left. `--repair` settles it, the next run replaces it.")
    elif report["reaped"]:
        lines.append(f"{report['reaped']} processes of this instance have died, and are settled.")
    lines.append("")
    lines += [process(row, report["leases"]) for row in report["processes"]]
    waiting = [row for row in report["channels"] if row["messages_pending"]]
    if waiting:
        lines += ["", "Waiting:"]
        lines += [
            f"  {row['name']:40} {row['messages_pending']:>7} messages, the oldest for {row['messages_max_age']:.1f} s"
            for row in sorted(waiting, key=lambda row: -int(row["messages_pending"]))
        ]
    lines += ["", f"DAMAGED: {report['damage']}" if report["damage"] else "Every table, list and counter is sound."]
    return "\n".join(lines)


def role_of(pid: int) -> str:
    """What a process is in its run, by the name that the supervisor gave it."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # it has just gone
        return ""
    return name.removeprefix("shm ") if name.startswith("shm ") else ""


def process(row: dict[str, Any], leases: list[dict[str, Any]]) -> str:
    """One process: who it is, and what it has in hand."""
    state = "alive" if row["alive"] else "dead"
    who = f"{row['pid']}, {row['role']}" if row["role"] else f"{row['pid']}"
    head = f"process {who} ({state}): {row['leased']} leased, {row['held']} held, {row['outboxes']} outboxes"
    mine = [lease for lease in leases if lease["pid"] == row["pid"]]
    return "\n".join(
        [head]
        + [
            f"    {lease['channel']} from {lease['reply_channel'] or 'nobody in particular'}: {lease['size']} bytes, queued "
            f"{lease['age']:.1f} s ago, {FATES[lease['policy']]}"
            for lease in mine
        ]
    )
