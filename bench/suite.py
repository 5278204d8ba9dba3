"""
The benchmarks: which there are, who takes part, in how many rounds, and what shmchan wants to reach.

The subjects of a benchmark take turns, round after round, so that whatever else the machine does meets them alike. Runs in the
process of ``shmchan bench``; what is measured runs in children.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from shmchan.exceptions import ShmchanError

from . import delay, load, ordering, servers
from .pair import SUBJECTS
from .results import SELF, Measurement, Round, Target
from .rivals import FIFO, PIPE, UVICORN, missing

BACKLOG = 10_000
IDLE_BYTES = 120_000_000
PAIR_SECONDS = 120
DELAY_SECONDS = 900
LADEN = f"{SELF}, {BACKLOG:,} queued"
PAIRS = (SELF, LADEN, *(subject for subject in SUBJECTS if subject != SELF))
Progress = Callable[[str], None]


class PairFailed(ShmchanError):
    """The processes of a measurement did not come to an end."""


@dataclass(frozen=True)
class Benchmark:
    """
    One question.

    Attributes:
        subjects: who takes part, shmchan first.
        parameters: of a full run; ``quick`` replaces some of them.
    """

    name: str
    question: str
    subjects: Sequence[str]
    measure: Callable[["Benchmark", Mapping[str, Any], Progress], list[Measurement]]
    parameters: Mapping[str, Any]
    quick: Mapping[str, Any] = field(default_factory=dict)

    def run(self, *, quick: bool, progress: Progress) -> list[Measurement]:
        """Measure everybody. A subject that is not installed is told as missing; one that fails raises ShmchanError."""
        return self.measure(self, {**self.parameters, **(self.quick if quick else {})}, progress)


def measure_pairs(benchmark: Benchmark, parameters: Mapping[str, Any], progress: Progress) -> list[Measurement]:
    """Two processes and a small dict, each measurement in a process of its own."""
    measurements = []
    for subject in benchmark.subjects:
        backlog = {"backlog": BACKLOG if subject == LADEN else 0}
        measurements.append(Measurement(benchmark.name, subject, {**parameters, **backlog}, missing=missing(subject)))
    for number, each in turns(measurements, parameters["rounds"]):
        progress(f"{benchmark.name}: round {number} of {parameters['rounds']}, {each.subject}")
        subject = SELF if each.subject == LADEN else each.subject
        each.rounds.append(pair(subject, parameters["kind"], parameters["count"], each.parameters["backlog"]))
    return measurements


def measure_ordering(benchmark: Benchmark, parameters: Mapping[str, Any], progress: Progress) -> list[Measurement]:
    """Workers with consumers that take their time, each measurement in a process of its own."""
    measurements = [Measurement(benchmark.name, subject, parameters) for subject in benchmark.subjects]
    for number, each in turns(measurements, parameters["rounds"]):
        progress(f"{benchmark.name}: round {number} of {parameters['rounds']}, {each.subject}")
        numbers = [str(parameters[name]) for name in ("workers", "connections", "messages", "mean_ms")]
        each.rounds.append(child("shmchan.bench.ordering", each.subject, *numbers))
    return measurements


def measure_delay(benchmark: Benchmark, parameters: Mapping[str, Any], progress: Progress) -> list[Measurement]:
    """Messages that are to go out later, each measurement in a process of its own."""
    measurements = []
    for subject in benchmark.subjects:
        pending = {"pending": delay.WAITING.get(subject, parameters["pending"])}
        if subject == delay.MANY:
            pending["pending"] = parameters.get("many", pending["pending"])
        measurements.append(Measurement(benchmark.name, subject, {**parameters, **pending}, missing=missing(subject)))
    for number, each in turns(measurements, parameters["rounds"]):
        progress(f"{benchmark.name}: round {number} of {parameters['rounds']}, {each.subject}")
        numbers = (str(each.parameters["pending"]), str(parameters["count"]))
        each.rounds.append(child("shmchan.bench.delay", parameters["kind"], each.subject, *numbers, seconds=DELAY_SECONDS))
    return measurements


def pair(subject: str, kind: str, count: int, backlog: int) -> Round:
    return child("shmchan.bench.pair", subject, kind, str(count), str(backlog))


def child(module: str, *arguments: str, seconds: float = PAIR_SECONDS) -> Round:
    """What a module measures in a process of its own, which prints a round as JSON."""
    command = [sys.executable, "-m", module, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            printed, problems = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise PairFailed(f"{' '.join(command)} did not end within {seconds} s") from None
        finally:
            if process.poll() is None:  # too slow, or Ctrl-C here; all its processes end with it
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise PairFailed(f"{' '.join(command)} ended with {process.returncode}: {problems[-2000:]}")
    return Round(**json.loads(printed))


def measure_echo(benchmark: Benchmark, parameters: Mapping[str, Any], progress: Progress) -> list[Measurement]:
    """Servers under WebSocket load, all up at the same time, one loaded after the other."""
    measurements = [
        Measurement(benchmark.name, subject, parameters, missing=missing(subject) or load.missing())
        for subject in benchmark.subjects
    ]
    with ExitStack() as stack:
        up = {each.subject: stack.enter_context(servers.running(each.subject)) for each in measurements if not each.missing}
        for number, each in turns(measurements, parameters["rounds"]):
            progress(f"{benchmark.name}: round {number} of {parameters['rounds']}, {each.subject}")
            load_options = {name: parameters[name] for name in ("connections", "depth", "seconds")}
            each.rounds.append(load.run(up[each.subject].port, **load_options))
    return measurements


def measure_memory(benchmark: Benchmark, parameters: Mapping[str, Any], progress: Progress) -> list[Measurement]:
    """Servers that nobody has asked for more than a greeting."""
    measurements = [Measurement(benchmark.name, name, parameters, missing=missing(name)) for name in benchmark.subjects]
    for _, each in turns(measurements, 1):
        progress(f"{benchmark.name}: {each.subject}")
        with servers.running(each.subject) as server:
            each.rounds.append(Round(size=server.unique_memory()))
    return measurements


def turns(measurements: Sequence[Measurement], rounds: int) -> Iterator[tuple[int, Measurement]]:
    """Round by round, each subject that is not missing."""
    for number in range(1, rounds + 1):
        for each in measurements:
            if not each.missing:
                yield number, each


ONE_WAY = {"kind": "one-way", "count": 200_000, "rounds": 5}
ROUND_TRIP = {"kind": "round-trip", "count": 20_000, "rounds": 5}
ECHO = {"connections": 1, "depth": 1, "seconds": 3, "rounds": 3, "workers": servers.WORKERS}
QUICK_ECHO = {"seconds": 1, "rounds": 1}

BENCHMARKS = (
    Benchmark(
        "one-way",
        f"Messages from one process to another ({BACKLOG:,} queued: in the same channel)",
        PAIRS,
        measure_pairs,
        ONE_WAY,
        {"count": 20_000, "rounds": 3},
    ),
    Benchmark(
        "round-trip",
        f"Question and answer between two processes, both blocking ({BACKLOG:,} queued: in another channel)",
        PAIRS,
        measure_pairs,
        ROUND_TRIP,
        {"count": 2_000, "rounds": 3},
    ),
    Benchmark(
        "memory",
        f"Unique memory of an idle server (shmchan: all processes with {servers.WORKERS} workers; uvicorn: one process)",
        (SELF, UVICORN),
        measure_memory,
        {"workers": servers.WORKERS},
    ),
    Benchmark(
        "echo-1",
        "WebSocket echo, one connection, one frame in flight (uvicorn: one process, no layer between)",
        (SELF, UVICORN),
        measure_echo,
        ECHO,
        QUICK_ECHO,
    ),
    Benchmark(
        "echo-64x8",
        "WebSocket echo, 64 connections with 8 frames in flight each",
        (SELF, UVICORN),
        measure_echo,
        {**ECHO, "connections": 64, "depth": 8},
        QUICK_ECHO,
    ),
    Benchmark(
        "ordering",
        "Messages of 1,000 connections through 8 workers whose consumers take random times (shmchan: @enforce_ordering)",
        ordering.SUBJECTS,
        measure_ordering,
        {"workers": 8, "connections": 1000, "messages": 8, "mean_ms": 4, "rounds": 3},
        {"messages": 2, "rounds": 1},
    ),
    Benchmark(
        "delay",
        "Messages to go out later, taken in and on the disk, with 1,000,000 waiting (rivals: with none; huey: no fsync)",
        (SELF, delay.FEW, delay.MANY, delay.HUEY, delay.POLLING),
        measure_delay,
        {"kind": "accept", "pending": 1_000_000, "count": 400_000, "rounds": 3},
        {"pending": 10_000, "many": 100_000, "count": 20_000, "rounds": 1},
    ),
    Benchmark(
        "delay-fire",
        "How late 1,000 messages a second go out, with 1,000,000 waiting (rivals: with none)",
        (SELF, delay.HUEY, delay.POLLING),
        measure_delay,
        {"kind": "fire", "pending": 1_000_000, "count": 20_000, "rounds": 3},
        {"pending": 10_000, "count": 1_000, "rounds": 1},
    ),
    Benchmark(
        "delay-ready",
        "From the start of the delay process to its first answer, with 1,000,000 waiting",
        (SELF,),
        measure_delay,
        {"kind": "ready", "pending": 1_000_000, "count": 5, "rounds": 1},
        {"pending": 10_000, "count": 2},
    ),
    Benchmark(
        "delay-memory",
        "Unique memory of the delay process with 1,000,000 waiting, after 100,000 more",
        (SELF,),
        measure_delay,
        {"kind": "memory", "pending": 1_000_000, "count": 100_000, "rounds": 1},
        {"pending": 10_000, "count": 10_000},
    ),
)

TARGETS = (
    Target("one way, times Pipe + msgspec, at least 1.6", "one-way", against=PIPE, at_least=1.6),
    Target("one way, times faster-fifo, at least 2.5", "one-way", against=FIFO, at_least=2.5),
    Target("one way with 10,000 queued, times without, at least 0.9", "one-way", LADEN, against=SELF, at_least=0.9),
    Target("round trip, times the Pipe's rate, at least 1.67 (0.6 of its time)", "round-trip", against=PIPE, at_least=1 / 0.6),
    Target("round trip with 10,000 queued, times without, at least 0.9", "round-trip", LADEN, against=SELF, at_least=0.9),
    Target(
        "enforce_ordering, times the rate without order, at least 0.83 (1.2 of its time)",
        "ordering",
        against=ordering.UNORDERED,
        at_least=1 / 1.2,
    ),
    Target("delayed messages with 10,000,000 waiting, times with 1,000, at least 0.5", "delay", delay.MANY, delay.FEW, 0.5),
    Target("the delay process with 1,000,000 waiting, at most 60 MB", "delay-memory", at_most=60_000_000),
    Target("idle run with 2 workers, at most 120 MB", "memory", at_most=IDLE_BYTES),
)
