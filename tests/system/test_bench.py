"""`shmchan bench` from its start to its end, on the benchmarks that are over soonest."""

import json
import subprocess

from shmchan.bench import ordering
from shmchan.bench.suite import PAIRS
from tests.servers import ROOT, WATCHDOG, command, environment


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("bench", "--quick", *options),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * WATCHDOG,
    )


def test_the_layer_beside_its_rivals_for_machines() -> None:
    done = bench("--only", "round-trip", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["subject"] for line in lines] == list(PAIRS)
    for line in lines:
        assert line["missing"] or (line["rate"] > 0 and line["p50_us"] > 0)
        assert (line["lost"], line["duplicated"], line["misordered"]) == (0, 0, 0)


def test_the_server_under_load_for_people() -> None:
    done = bench("--only", "echo-64x8", "--only", "memory")
    assert done.returncode == 0, done.stderr
    assert "echo-64x8: " in done.stdout
    assert "0/0/0" in done.stdout
    assert "Targets" in done.stdout
    assert "round 1 of 1, shmchan" in done.stderr


def test_the_order_of_a_thousand_connections_on_eight_workers() -> None:
    done = bench("ordering", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["subject"] for line in lines] == list(ordering.SUBJECTS)
    for line in lines:
        assert (line["parameters"]["workers"], line["parameters"]["connections"]) == (8, 1000)
        assert (line["lost"], line["duplicated"], line["misordered"]) == (0, 0, 0)


def test_the_delay_process_is_measured_in_children_of_its_own() -> None:
    done = bench("delay-ready", "delay-memory", "--json")
    assert done.returncode == 0, done.stderr
    ready, memory = (json.loads(line) for line in done.stdout.splitlines())
    assert ready["p50_us"] > 0
    assert memory["bytes"] > 0
    assert memory["parameters"]["pending"] == 10_000


def test_an_unknown_benchmark_is_one_line_that_names_the_known_ones() -> None:
    done = bench("--only", "all")
    assert done.returncode == 2
    assert "round-trip" in done.stderr
    assert len(done.stderr.splitlines()) == 1
