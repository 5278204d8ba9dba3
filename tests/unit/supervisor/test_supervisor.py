"""
The supervisor with children that do nothing: what it starts, restarts, and stops in which order.

Each test is one real run, in a process of its own, since a supervisor forks and owns the signals of its process. Its children
print what they do; the tests read that and never look at a clock.
"""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import IO

import pytest

PREAMBLE = """
import logging, os, signal, sys, threading, time
from shmchan.exceptions import SegmentCorrupt
from shmchan.supervisor import *

logging.basicConfig(stream=sys.stdout, level="INFO", format="log: %(message)s")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

class Segment:
    def reap(self):
        return 0

def obedient(name):
    def main(ready):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        ready()
        say(name, "up", os.getpid())
        signal.sigwait([signal.SIGTERM])
        say(name, "down")
    return main

def deaf(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready()
    say("deaf up", os.getpid())
    while True:
        signal.pause()

def run(*roles, **options):
    try:
        code = Supervisor(options.pop("segment", Segment()), roles, started=lambda: say("started"), **options).run()
    except StartFailed as error:
        say("start failed:", error)
        code = 2
    say("over", code)
    sys.exit(code)

front = Role("front", obedient("front"), is_front=True)
worker = Role("worker 1", obedient("worker"))
"""


class Run:
    """One supervisor in a process of its own, and what it and its children print."""

    def __init__(self, body: str) -> None:
        program = PREAMBLE + textwrap.dedent(body)
        self.process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.output: IO[str] = self.process.stdout
        self.seen: list[str] = []

    def wait_for(self, start: str) -> str:
        """The next line with this start, without it; lines in between are kept in ``seen``."""
        for line in self.output:
            self.seen.append(line.rstrip("\n"))
            if line.startswith(start):
                return self.seen[-1].removeprefix(start).strip()
        pytest.fail(f"the run ended without saying {start!r}: {self.seen}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Read to the end and take the exit code."""
        self.seen += self.output.read().splitlines()
        return self.process.wait()


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for run in started:
        run.process.kill()  # its children go with it
        run.process.wait()
        run.output.close()


def wait_until_gone(pid: int) -> None:
    """Return when a process is dead (a zombie that nobody has waited for yet counts); pytest-timeout is the watchdog."""
    while True:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)


def start(runs: list[Run], body: str) -> Run:
    runs.append(Run(body))
    return runs[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_front_first_and_then_the_workers(runs: list[Run], number: signal.Signals) -> None:
    run = start(runs, "run(worker, front)")
    run.wait_for("started")
    run.stop(number)
    assert run.end() == 0
    assert [line for line in run.seen if line.endswith("down")] == ["front down", "worker down"]


def test_workers_are_stopped_only_when_the_queue_is_empty(runs: list[Run]) -> None:
    run = start(
        runs,
        """
        left = [3, 2, 1, 0]
        def pending():
            say("pending", left[0])
            return left.pop(0)
        run(worker, front, pending=pending)
        """,
    )
    run.wait_for("started")
    run.stop()
    assert run.end() == 0
    order = [line for line in run.seen if line.endswith("down") or line.startswith("pending")]
    assert order == ["front down", "pending 3", "pending 2", "pending 1", "pending 0", "worker down"]


@pytest.mark.parametrize("name", ["worker", "front"])
def test_a_killed_child_is_reaped_and_replaced(runs: list[Run], name: str) -> None:
    run = start(
        runs,
        """
        class Noting(Segment):
            def reap(self):
                died = [role.name for role in supervisor.roles if role not in supervisor.children]
                if died:
                    say("reaps after", *died)
                return len(died)
        supervisor = Supervisor(Noting(), [worker, front], started=lambda: say("started"))
        sys.exit(supervisor.run())
        """,
    )
    run.wait_for("started")
    while sum(" up " in line for line in run.seen) < 2:
        run.wait_for("")
    pids = {line.split()[0]: int(line.split()[2]) for line in run.seen if " up " in line}
    os.kill(pids[name], signal.SIGKILL)
    assert int(run.wait_for(f"{name} up")) != pids[name]
    assert any("was killed by SIGKILL; starting it again" in line for line in run.seen)
    assert any(line.startswith(f"reaps after {name}") for line in run.seen)
    run.stop()
    assert run.end() == 0


def test_a_child_that_keeps_dying_waits_longer_each_time(runs: list[Run]) -> None:
    run = start(
        runs,
        """
        import contextlib
        gate, opener = os.pipe()
        def main(ready):
            with contextlib.suppress(OSError):
                os.close(opener)
            ready()
            os.read(gate, 1)  # until the supervisor has seen everybody ready, and ever after
            os._exit(7)
        sys.exit(Supervisor(Segment(), [Role("worker 1", main)], started=lambda: os.close(opener)).run())
        """,
    )
    waits = [run.wait_for("log: worker 1").rpartition("exited with code 7; starting it again")[2] for _ in range(4)]
    assert waits == ["", " in 0.1 s", " in 0.2 s", " in 0.4 s"]
    run.stop()
    assert run.end() == 0


def test_a_child_that_cannot_start_ends_the_run_with_its_one_line(runs: list[Run]) -> None:
    run = start(
        runs,
        """
        def broken(ready):
            raise Unusable("app.py:3: no such\\n   thing")
        run(worker, front, Role("worker 2", broken))
        """,
    )
    assert run.end() == 2
    assert "start failed: app.py:3: no such thing" in run.seen
    assert "started" not in run.seen
    assert not any("Traceback" in line for line in run.seen)


def test_a_child_that_crashes_while_starting_is_named(runs: list[Run]) -> None:
    run = start(runs, 'run(front, Role("worker 1", lambda ready: os.kill(os.getpid(), signal.SIGSEGV)))')
    assert run.end() == 2
    assert any(line.startswith("start failed: worker 1 was killed by SIGSEGV while starting") for line in run.seen)


def test_an_unexpected_error_is_logged_with_its_traceback(runs: list[Run]) -> None:
    run = start(runs, 'run(Role("worker 1", lambda ready: 1 / 0))')
    assert run.end() == 2
    assert any("ZeroDivisionError" in line for line in run.seen)
    assert any(line.startswith("start failed: worker 1 exited with code 1") for line in run.seen)


def test_a_second_signal_kills_what_does_not_stop(runs: list[Run]) -> None:
    run = start(runs, 'run(Role("worker 1", deaf), front, graceful_timeout=1000)')
    pid = int(run.wait_for("deaf up"))
    run.wait_for("started")
    run.stop()
    run.wait_for("front down")
    run.stop()
    assert run.end() == 1
    assert any("again: stopping at once" in line for line in run.seen)
    wait_until_gone(pid)


def test_what_does_not_stop_in_the_graceful_time_is_killed_and_named(runs: list[Run]) -> None:
    run = start(runs, 'run(Role("worker 1", deaf), front, graceful_timeout=0.2)')
    run.wait_for("started")
    run.stop()
    assert run.end() == 1
    assert any("killing worker 1" in line for line in run.seen)


def test_a_signal_while_starting_stops_at_once(runs: list[Run]) -> None:
    run = start(
        runs,
        """
        def slow(ready):
            say("importing")
            signal.pause()
        run(Role("worker 1", slow), front)
        """,
    )
    run.wait_for("importing")
    run.stop()
    assert run.end() == 0
    assert "started" not in run.seen


def test_children_die_with_a_killed_supervisor(runs: list[Run]) -> None:
    run = start(runs, 'run(Role("worker 1", deaf))')
    pid = int(run.wait_for("deaf up"))
    run.process.kill()
    assert run.end() == -signal.SIGKILL  # `end` reads until the last holder of the pipe, the child, is gone
    wait_until_gone(pid)


def test_a_damaged_segment_ends_the_run(runs: list[Run]) -> None:
    run = start(
        runs,
        """
        class Damaged(Segment):
            def reap(self):
                raise SegmentCorrupt("default", "a block is out of bounds")
        run(Role("worker 1", deaf), segment=Damaged())
        """,
    )
    assert run.end() == 1
    assert any("a block is out of bounds" in line for line in run.seen)


def test_children_have_none_of_the_supervisors_descriptors(runs: list[Run]) -> None:
    run = start(
        runs,
        """
        def main(ready):
            open_now = {int(fd) for fd in os.listdir("/proc/self/fd")}
            say("open", len({fd for fd in open_now if fd > 2}))
            obedient("worker")(ready)
        run(Role("front", obedient("front"), is_front=True), Role("worker 1", main))
        """,
    )
    # The pipe to report on, and the folder's own descriptor while it is being listed.
    assert run.wait_for("open") == "2"
    run.wait_for("started")
    run.stop()
    assert run.end() == 0


def test_exit_functions_of_a_child_run_in_it_and_only_there(runs: list[Run]) -> None:
    run = start(
        runs,
        """
        import atexit
        atexit.register(lambda: say("supervisor leaves"))
        def main(ready):
            atexit.register(lambda: say("worker leaves"))
            obedient("worker")(ready)
        run(Role("worker 1", main))
        """,
    )
    run.wait_for("started")
    run.stop()
    assert run.end() == 0
    assert run.seen.count("worker leaves") == 1
    assert run.seen.count("supervisor leaves") == 1


def test_a_collection_in_a_child_passes_over_what_it_shares_with_the_supervisor(runs: list[Run]) -> None:
    run = start(
        runs,
        """
        import gc
        shared = [[] for _ in range(1000)]
        def main(ready):
            known = {id(thing) for thing in gc.get_objects()}
            say("collected", sum(id(thing) in known for thing in shared))
            obedient("worker")(ready)
        run(Role("worker 1", main))
        """,
    )
    assert run.wait_for("collected") == "0"
    run.wait_for("started")
    run.stop()
    assert run.end() == 0
