"""How statistics are shown."""

from typing import Any

from shmchan.cli.stats import summary, table


def row(name: str, sent: int, **dropped: int) -> dict[str, Any]:
    return {
        "name": name,
        "messages_pending": 2,
        "messages_max_age": 1.25,
        "messages_count": sent,
        "messages_count_per_second": 3.0,
        "dropped": {"full": 0, "expired": 0, "crash": 0, **dropped},
    }


def test_the_busiest_channel_is_first_and_only_causes_that_happened_have_columns() -> None:
    lines = table([row("b.quiet", 1), row("a.quiet", 1, expired=7), row("busy", 12345, crash=1)]).splitlines()
    assert lines == [
        "channel  waiting  oldest   sent  per s  expired  crash",
        "busy           2     1.2  12345    3.0        0      1",
        "a.quiet        2     1.2      1    3.0        7      0",
        "b.quiet        2     1.2      1    3.0        0      0",
    ]


def test_no_channels_is_said() -> None:
    assert table([]) == "No channel has been used yet."


def test_the_summary_names_drops_by_cause() -> None:
    total = {
        "memory_total": 256 << 20,
        "memory_used": 64 << 20,
        "processes": 4,
        "connections": 10,
        "groups": 3,
        "messages_count": 1000,
        "messages_count_per_second": 12.4,
        "messages_pending": 5,
        "messages_max_age": 0.25,
        "dropped": {"full": 3, "expired": 0, "crash": 1},
    }
    assert summary("default", total).splitlines() == [
        "instance default: 4 processes, 10 connections, 3 groups, 64 MiB of 256 MiB used (25%)",
        "messages: 1000 sent (12 per s), 5 waiting, the oldest for 0.2 s",
        "dropped: 3 full, 1 crash",
    ]
    assert "dropped: nothing" in summary("default", {**total, "dropped": {"full": 0}})
