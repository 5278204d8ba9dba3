"""
Load for a while, workers killed now and then, idle connections held beside it: nobody's memory grows, and nothing is left.

``SECONDS`` in the environment says for how long, besides what warming up takes; ``make soak`` takes ten minutes. Load comes
from ``bench/wsload`` in rounds, of which every other one has a worker killed in it. A worker has one message in hand: with it
goes one connection, and no more.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from shmchan.bench.load import wsload
from shmchan.layers.shm import ShmChannelLayer
from tests.servers import Server, StartServer, wait_for

SECONDS = float(os.environ.get("SECONDS", "5"))
ROUND_SECONDS = max(2.0, min(20.0, SECONDS / 10))
CONNECTIONS, DEPTH, IDLE = 64, 8, 100
GROWTH = 1.2
SLACK = 6 << 20
"""Bytes: what allocators keep, or have not given back yet, after a load like another one before it."""
PROGRAM_SECONDS = 60.0  # what wsload may take beyond its load


def statistics(server: Server) -> dict[str, int]:
    """The segment's memory in use and its connections, and the drops by cause."""
    with ShmChannelLayer.attach(server.name) as layer:
        found = layer.global_statistics()
        return {"memory_used": found["memory_used"], "connections": found["connections"], **found["dropped"]}  # type: ignore[typeddict-item]


def resources(server: Server) -> dict[str, tuple[int, int]]:
    """For each process: the bytes that it has for itself, and its open descriptors."""
    processes = {"supervisor": psutil.Process(server.process.pid)}
    for kind in ("front", "worker"):
        children = sorted(server.children(kind).values(), key=lambda child: child.create_time())
        processes.update({f"{kind} {number}": child for number, child in enumerate(children)})
    return {name: (process.memory_full_info().uss, process.num_fds()) for name, process in processes.items()}


def load(server: Server, mode: str, connections: int, depth: int, seconds: float) -> subprocess.Popen[str]:
    options = {"-p": server.port, "-c": connections, "-d": depth, "-t": seconds, "-m": mode}
    arguments = [str(part) for option in options.items() for part in option]
    return subprocess.Popen([str(wsload()), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(program: subprocess.Popen[str], seconds: float) -> dict[str, int]:
    """What wsload says of its run."""
    said, complaints = program.communicate(timeout=seconds + PROGRAM_SECONDS)
    assert said, complaints
    result: dict[str, int] = json.loads(said)
    return result


@contextmanager
def idle_connections(server: Server) -> Iterator[None]:
    """Held by a process of their own until the block is left; none of them may be lost."""
    program = load(server, "idle", IDLE, 1, 10 * SECONDS + PROGRAM_SECONDS)
    try:
        wait_for("the idle connections", lambda: statistics(server)["connections"] == IDLE, server.log)
        yield
        assert statistics(server)["connections"] == IDLE
        assert program.poll() is None
    finally:
        program.kill()
        program.communicate()


def kill_a_worker(server: Server) -> None:
    before = server.children("worker")
    victim = next(iter(before.values()))
    victim.kill()
    wait_for("another worker", lambda: len(server.children("worker").keys() - {victim.pid}) == len(before), server.log)


def run_round(server: Server, kill: bool) -> dict[str, int]:
    """One round of load; returns what wsload says of it."""
    program = load(server, "order", CONNECTIONS, DEPTH, ROUND_SECONDS)
    try:
        if kill:
            opened = CONNECTIONS + IDLE
            wait_for(
                "its connections", lambda: statistics(server)["connections"] >= opened or program.poll() is not None, server.log
            )
            time.sleep(ROUND_SECONDS / 2)  # no condition is waited for: only the middle of the load
            kill_a_worker(server)
        result = ended(program, ROUND_SECONDS)
    finally:
        program.kill()
        program.communicate()
    told = json.dumps(result)
    assert result["received"] > 0, told
    assert result["closed"] <= (1 if kill else 0), told
    assert result["lost"] <= DEPTH * result["closed"], told
    assert result["misordered"] == 0, told
    assert result["duplicated"] == 0, told
    wait_for("the end of its connections", lambda: statistics(server)["connections"] == IDLE, server.log)
    return result


@pytest.mark.timeout(2 * SECONDS + 4 * PROGRAM_SECONDS)
def test_a_long_load_with_kills_leaves_nothing_behind(server: StartServer) -> None:
    running = server("--workers", "2", "--no-access-log", "--log-level", "warning", app="shmchan.examples.echo")
    empty = statistics(running)
    rounds = frames = lost = 0
    with idle_connections(running):
        run_round(running, kill=False)  # allocators and caches fill up
        held = statistics(running)["memory_used"]
        before = resources(running)
        until = time.monotonic() + SECONDS
        while rounds < 2 or time.monotonic() < until:
            result = run_round(running, kill=rounds % 2 == 1)
            rounds += 1
            frames += result["received"]
            lost += result["closed"]
        run_round(running, kill=False)  # the latest worker is as warm as those of the start were
        wait_for("the memory that idle connections take", lambda: statistics(running)["memory_used"] == held, running.log)
        after = resources(running)
    wait_for("the end of all connections", lambda: statistics(running)["connections"] == 0, running.log)
    wait_for("an empty segment", lambda: statistics(running)["memory_used"] == empty["memory_used"], running.log)
    end = statistics(running)
    assert after.keys() == before.keys()
    for name, (memory, descriptors) in before.items():
        print(f"{name}: {memory >> 10} KiB then {after[name][0] >> 10} KiB, {descriptors} then {after[name][1]} descriptors")
    print(f"{rounds} rounds, {frames} frames, {rounds // 2} workers killed, {lost} connections lost with them; drops: {end}")
    for name, (memory, descriptors) in after.items():
        assert memory <= GROWTH * before[name][0] + SLACK, name
        assert descriptors <= before[name][1] + 2, name  # one that is just being closed, or opened, is no leak
    assert end["crash"] <= rounds // 2
    assert (end["expired"], end["too_large"], end["memory"]) == (0, 0, 0)
    running.stop()
