"""When what repeats is due next: periods, cron expressions, summer time."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmchan.delay.schedule import SECOND, cron_after, following, local_zone

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * SECOND


def shown(due: int) -> str:
    return datetime.fromtimestamp(due / SECOND, BERLIN).isoformat(" ", "minutes")


@given(period=st.floats(0.01, 1e6), due=st.integers(0, 10**15), late=st.integers(0, 10**13))
def test_the_next_time_is_the_first_one_on_the_grid_that_is_to_come(period: float, due: int, late: int) -> None:
    step = round(period * SECOND)
    then = following(period, due, due + late)
    assert then > due + late
    assert (then - due) % step == 0
    assert then - step <= due + late


def test_one_that_was_early_goes_on_by_one_period() -> None:
    assert following(10, due=100 * SECOND, now=50 * SECOND) == 110 * SECOND


def test_in_spring_a_time_that_is_left_out_comes_after_the_gap() -> None:
    assert shown(cron_after("30 2 * * *", at("2026-03-29 01:00"), BERLIN)) == "2026-03-29 03:00+02:00"
    assert shown(cron_after("30 2 * * *", at("2026-03-29 12:00"), BERLIN)) == "2026-03-30 02:30+02:00"


def test_in_autumn_a_time_that_comes_twice_is_once() -> None:
    first = cron_after("30 2 * * *", at("2026-10-25 01:00"), BERLIN)
    assert shown(first) == "2026-10-25 02:30+02:00"
    assert shown(cron_after("30 2 * * *", first, BERLIN)) == "2026-10-26 02:30+01:00"


def test_in_autumn_what_comes_every_few_minutes_goes_on_through_the_hour_that_comes_twice() -> None:
    due = at("2026-10-25 01:30")
    times = []
    for _ in range(8):
        due = cron_after("*/20 * * * *", due, BERLIN)
        times.append(datetime.fromtimestamp(due / SECOND, UTC).strftime("%H:%M"))
    assert times == ["23:40", "00:00", "00:20", "00:40", "01:00", "01:20", "01:40", "02:00"]


def test_the_zone_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    local_zone.cache_clear()
    monkeypatch.setenv("TZ", ":Europe/Berlin")
    assert local_zone() == BERLIN
    local_zone.cache_clear()
    monkeypatch.setenv("TZ", "No/Where")
    assert local_zone() == ZoneInfo("UTC")
    local_zone.cache_clear()
    monkeypatch.delenv("TZ")
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    if Path("/etc/localtime").exists():
        assert moment.astimezone(local_zone()).utcoffset() == moment.astimezone().utcoffset()
    local_zone.cache_clear()
