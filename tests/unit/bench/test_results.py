"""What `shmchan bench` makes of its numbers."""

import json

from shmchan.bench import suite
from shmchan.bench.pair import Ledger
from shmchan.bench.results import SELF, Measurement, Round, Target, percentiles, ratio, table


def measured(subject: str, *rates: float, benchmark: str = "one-way") -> Measurement:
    return Measurement(benchmark, subject, {"count": 10}, [Round(rate=rate) for rate in rates])


def test_the_rate_is_the_median_of_the_rounds() -> None:
    assert measured(SELF, 1.0, 500.0, 3.0).rate == 3.0


def test_nothing_measured_has_no_rate() -> None:
    assert measured(SELF).rate is None


def test_a_json_line_holds_what_a_machine_needs() -> None:
    each = measured(SELF, 10.0, 30.0)
    each.rounds.append(Round(rate=20.0, latency_us={"p50_us": 1.5}, lost=2, duplicated=1))
    line = each.json_line()
    said = json.loads(line)
    assert "\n" not in line
    assert said["rate"] == 20.0
    assert said["rates"] == [10.0, 30.0, 20.0]
    assert (said["p50_us"], said["p99_us"]) == (1.5, None)
    assert (said["lost"], said["duplicated"], said["misordered"]) == (2, 1, 0)
    assert said["parameters"] == {"count": 10}
    assert said["commit"]
    assert "Linux" in said["machine"]
    assert not each.sound


def test_the_table_shows_the_ratio_and_who_is_missing() -> None:
    absent = Measurement("one-way", "rival", {}, missing="not installed (pip install rival)")
    text = table("Question", [measured(SELF, 300.0), measured("slow", 150.0), absent])
    lines = text.splitlines()
    assert lines[0] == "Question"
    assert "2.00 x" in next(line for line in lines if "slow" in line)
    assert "not installed" in next(line for line in lines if "rival" in line)


def test_the_table_of_memory_shows_megabytes() -> None:
    text = table("Memory", [Measurement("memory", SELF, {}, [Round(size=93_400_000)])])
    assert "93.4" in text


def test_a_target_is_met_missed_or_not_measured() -> None:
    target = Target("twice as fast", "one-way", against="rival", at_least=2.0)
    assert target.judge([measured(SELF, 300.0), measured("rival", 100.0)]) == (True, "3.00")
    assert target.judge([measured(SELF, 150.0), measured("rival", 100.0)]) == (False, "1.50")
    assert target.judge([measured(SELF, 150.0)]) is None


def test_a_ratio_is_that_of_rounds_made_side_by_side() -> None:
    assert ratio(measured(SELF, 200.0, 20.0, 2.0), measured("rival", 100.0, 10.0, 1.0)) == 2.0
    assert ratio(measured(SELF, 200.0), measured("rival")) is None


def test_a_target_of_bytes_compares_bytes() -> None:
    target = Target("small", "memory", at_most=120_000_000)
    assert target.judge([Measurement("memory", SELF, {}, [Round(size=90_000_000)])]) == (True, "90.0 MB")
    assert target.judge([Measurement("memory", SELF, {}, [Round(size=130_000_000)])]) == (False, "130.0 MB")


def test_percentiles_of_a_thousand_and_of_one() -> None:
    assert percentiles([1000 * n for n in range(1000)]) == {"p50_us": 500.0, "p99_us": 990.0, "p999_us": 999.0}
    assert percentiles([7000]) == {"p50_us": 7.0, "p99_us": 7.0, "p999_us": 7.0}


def test_the_ledger_counts_what_is_lost_doubled_and_out_of_order() -> None:
    ledger = Ledger()
    orders = [0, 1, 1, 2, 5, 6]  # 1 came twice; 3 and 4 are missing
    ledger.note(orders)
    assert (ledger.duplicated, ledger.misordered, ledger.lost(len(orders))) == (1, 1, 2)


def test_every_target_names_benchmarks_and_subjects_that_exist() -> None:
    known = {(benchmark.name, subject) for benchmark in suite.BENCHMARKS for subject in benchmark.subjects}
    for target in suite.TARGETS:
        assert (target.benchmark, target.subject) in known
        assert target.against is None or (target.benchmark, target.against) in known
