"""
When a message that repeats is due next.

Owns the arithmetic of periods and cron expressions. Pure, but for the machine's time zone, which a cron expression means. Times
are microseconds. The delay process runs it.
"""

import os
from datetime import datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim

SECOND = 1_000_000
MAX_DUE = (1 << 63) - 1


def following(every: float | str, due: int, now: int, zone: tzinfo | None = None) -> int:
    """
    The next time after ``now``; runs that were missed meanwhile are one.

    Args:
        every: seconds, counted from ``due``; or a cron expression, counted on the wall.
        due: when it was due last.
        now: of the clock that it goes by.
        zone: of a cron expression; the machine's by default.
    """
    if isinstance(every, str):
        return cron_after(every, now, zone or local_zone())
    period = max(1, round(every * SECOND))
    return due + max(1, (now - due) // period + 1) * period


def cron_after(expression: str, now: int, zone: tzinfo) -> int:
    """The first time after ``now`` that a cron expression names; MAX_DUE if it never comes."""
    moments = CronSim(expression, datetime.fromtimestamp(now / SECOND, zone))
    for moment in moments:
        due = round(moment.timestamp()) * SECOND
        if due > now:
            return due
    return MAX_DUE


@cache
def local_zone() -> tzinfo:
    """The machine's time zone: TZ, else /etc/localtime, else UTC. With its changes to summer time, as an offset has none."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file, "localtime")
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return ZoneInfo("UTC")
