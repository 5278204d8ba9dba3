"""
What a measurement is, and how people and machines read it.

Owns the numbers of one subject in one benchmark, their medians over the rounds, the ratios and the targets. It measures nothing
and prints nothing; `shmchan.cli.bench` does. A ratio between subjects of the same run is what counts; a rate alone says more
about the machine.
"""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SELF = "shmchan"


@dataclass(frozen=True)
class Round:
    """
    One subject measured once.

    Attributes:
        rate: messages or round trips a second; None for what has no rate.
        latency_us: the percentiles that were taken: ``p50_us``, ``p99_us``, ``p999_us``.
        size: bytes, where memory was measured.
        lost, duplicated, misordered: messages; all 0 in a sound run.
    """

    rate: float | None = None
    latency_us: Mapping[str, float] = field(default_factory=dict)
    size: int | None = None
    lost: int = 0
    duplicated: int = 0
    misordered: int = 0


@dataclass
class Measurement:
    """
    One subject in one benchmark, over its rounds.

    Attributes:
        missing: why there is nothing to show, for instance that a rival is not installed.
    """

    benchmark: str
    subject: str
    parameters: Mapping[str, Any]
    rounds: list[Round] = field(default_factory=list)
    missing: str | None = None

    @property
    def rate(self) -> float | None:
        return median(each.rate for each in self.rounds)

    @property
    def size(self) -> int | None:
        value = median(each.size for each in self.rounds)
        return None if value is None else round(value)

    def latency(self, percentile: str) -> float | None:
        return median(each.latency_us.get(percentile) for each in self.rounds)

    def total(self, fault: str) -> int:
        """How many messages were ``lost``, ``duplicated`` or ``misordered`` in all rounds."""
        return sum(getattr(each, fault) for each in self.rounds)

    @property
    def sound(self) -> bool:
        return not any(self.total(fault) for fault in ("lost", "duplicated", "misordered"))

    def json_line(self) -> str:
        """One line for machines; what was not measured is null."""
        return json.dumps(
            {
                "benchmark": self.benchmark,
                "subject": self.subject,
                "missing": self.missing,
                "commit": commit(),
                "machine": machine(),
                "parameters": dict(self.parameters),
                "rounds": len(self.rounds),
                "rate": self.rate,
                "rates": [each.rate for each in self.rounds],
                "bytes": self.size,
                **{name: self.latency(name) for name in ("p50_us", "p99_us", "p999_us")},
                **{name: self.total(name) for name in ("lost", "duplicated", "misordered")},
            }
        )


@dataclass(frozen=True)
class Target:
    """
    What shmchan wants to reach in one benchmark.

    Attributes:
        subject: whose rate, or bytes.
        against: the subject whose rate it is divided by; None compares bytes.
        at_least: the ratio; with ``against`` None, ``at_most`` bytes count instead.
    """

    text: str
    benchmark: str
    subject: str = SELF
    against: str | None = None
    at_least: float = 0.0
    at_most: int = 0

    def judge(self, measurements: Sequence[Measurement]) -> tuple[bool, str] | None:
        """Whether it was met, and the value; None if something it needs was not measured."""
        own = find(measurements, self.benchmark, self.subject)
        if own is None:
            return None
        if self.against is None:
            return None if own.size is None else (own.size <= self.at_most, f"{own.size / 1e6:.1f} MB")
        other = find(measurements, self.benchmark, self.against)
        value = ratio(own, other) if other else None
        return None if value is None else (value >= self.at_least, f"{value:.2f}")


def ratio(one: Measurement, other: Measurement) -> float | None:
    """One's rate as a multiple of the other's: the median over the rounds, so that a slow minute of the machine cancels out."""
    pairs = zip(one.rounds, other.rounds, strict=False)
    return median(mine.rate / theirs.rate for mine, theirs in pairs if mine.rate and theirs.rate)


def find(measurements: Sequence[Measurement], benchmark: str, subject: str) -> Measurement | None:
    return next((each for each in measurements if (each.benchmark, each.subject) == (benchmark, subject)), None)


def median(values: Any) -> float | None:
    """The median of what is there; None of nothing."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def percentiles(latencies_ns: list[int]) -> dict[str, float]:
    """p50, p99 and p99.9 in us of a non-empty list of ns."""
    ordered = sorted(latencies_ns)
    last = len(ordered) - 1
    return {
        name: ordered[min(last, int(len(ordered) * q))] / 1000
        for name, q in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999))
    }


def table(title: str, measurements: Sequence[Measurement]) -> str:
    """One benchmark for people: a line for each subject, shmchan's rate as a multiple of theirs."""
    own = next((each for each in measurements if each.subject == SELF), None)
    rows = [["", "per second", "p50 us", "p99 us", "p99.9 us", "shmchan is", "lost/twice/order"]]
    if any(each.size is not None for each in measurements):
        rows = [["", "MB"]]
    for each in measurements:
        if each.missing:
            rows.append([each.subject, each.missing])
        elif each.size is not None:
            rows.append([each.subject, f"{each.size / 1e6:.1f}"])
        else:
            times = ratio(own, each) if own and each is not own else None
            rows.append(
                [
                    each.subject,
                    number(each.rate),
                    *(number(each.latency(name), 1) for name in ("p50_us", "p99_us", "p999_us")),
                    f"{times:.2f} x" if times else "",
                    f"{each.total('lost')}/{each.total('duplicated')}/{each.total('misordered')}",
                ]
            )
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[i]) for row in full) for i in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = [title]
    for row in rows:
        first, rest = row[0].ljust(widths[0]), row[1:]
        if len(row) == len(rows[0]):
            rest = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  " + "  ".join([first, *rest]).rstrip())
    return "\n".join(lines)


def number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


@cache
def commit() -> str:
    """The commit of the checkout this runs in, ``-dirty`` if files differ from it; else the version that is installed."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(git, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        answer = None
    if answer and answer.returncode == 0:
        return answer.stdout.strip()
    try:
        return version("shmchan")
    except PackageNotFoundError:
        return "unknown"


@cache
def machine() -> str:
    """The processor, how many of its cores this process may use, the kernel and the Python: what a rate depends on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Linux {platform.release()}, {platform.python_implementation()} {platform.python_version()}"
