"""How statistics are shown."""

from typing import Any

from shmchan.cli.stats import folded, front_table, summary, table


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


def test_made_up_channels_are_one_row_of_their_prefix_and_lose_nothing() -> None:
    rows = [
        row("a.answer?x1", 1, full=1),
        row("jobs", 5),
        {**row("a.answer?x2", 2, crash=3), "messages_max_age": 0.5},
        row("a.answer", 9),
        row("local!", 1),
    ]
    assert folded(rows) == [
        {
            "name": "a.answer?",
            "messages_pending": 4,
            "messages_max_age": 1.25,
            "messages_count": 3,
            "messages_count_per_second": 6.0,
            "dropped": {"full": 1, "expired": 0, "crash": 3},
        },
        row("jobs", 5),
        row("a.answer", 9),
        row("local!", 1),
    ]


def test_what_the_front_counted_is_shown_by_name() -> None:
    assert front_table({"requests": 123456, "bad.event": 0, "dropped.gone": 7}).splitlines() == [
        "front          count",
        "requests      123456",
        "dropped.gone       7",
    ]
    assert front_table({"requests": 0}) == front_table({}) == "The front has counted nothing yet."


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
        "dropped in channels: 3 full, 1 crash",
    ]
    assert "dropped in channels: nothing" in summary("default", {**total, "dropped": {"full": 0}})
