"""
Kills the delay process, again and again, and counts what comes out of it.

    python -m tests.delay.storm [KILLS] [MESSAGES] [SEED]

One process sends, receives and keeps the ledger. The delay process is forked from it, with a fuse: half of them die at a step of
theirs, before or after each thing they do to the file or the segment; the other half at a random moment. Every message must come
once, none before it is due, and at the end nothing may be left anywhere. Prints one line of what was run; exit code 1 and a
line for each violation.
"""

import logging
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shmchan import delay
from shmchan.delay.heap import Heap
from shmchan.delay.service import Service
from shmchan.exceptions import ChannelFull
from shmchan.layers.delay_port import Incoming, Outcome, ShmDelayPort
from shmchan.layers.shm import ShmChannelLayer

WATCHDOG = 90.0
"""Seconds without anything coming, after which something is lost."""

CHANNELS = ["storm.ordinary", "storm.single?x", "storm.local!", "storm.narrow"]
TARGETS = ["storm.ordinary", "storm.single?x", "storm.local!one", "storm.local!two"]
STEPS = [
    "in: before the transaction",
    "in: before the commit",
    "in: after the commit",
    "out: before the transaction",
    "out: before the commit",
    "out: after the commit",
    "taken",
    "half acknowledged",
    "rejected",
    "before a message is put",
    "after a message is put",
    "before the notes are read",
]
STEP_BYTES = 32


class Fuse:
    """Kills this process at a step of this name when it comes the n-th time, and leaves the name in ``last`` for the parent."""

    def __init__(self, deadly: str, times: int, last: mmap.mmap) -> None:
        self.deadly, self.times = deadly, times
        self.last = last

    def step(self, name: str) -> None:
        self.times -= name == self.deadly
        if name == self.deadly and self.times == 0:
            self.last[:STEP_BYTES] = name.encode().ljust(STEP_BYTES)
            os.kill(os.getpid(), signal.SIGKILL)


class FusedHeap(Heap):
    """A heap whose transactions have steps."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        self.fuse = fuse
        super().__init__(path)

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[None]:
        kind = "in" if durable else "out"
        self.fuse.step(f"{kind}: before the transaction")
        with super().transaction(durable):
            yield
            self.fuse.step(f"{kind}: before the commit")
        self.fuse.step(f"{kind}: after the commit")


class FusedPort(ShmDelayPort):
    """A port on which every call has a step before and after it."""

    def __init__(self, layer: ShmChannelLayer, fuse: Fuse) -> None:
        super().__init__(layer)
        self.fuse = fuse

    def take(self, limit: int) -> list[Incoming]:
        taken = super().take(limit)
        if taken:
            self.fuse.step("taken")
        return taken

    def acknowledge(self, taken: list[Incoming]) -> None:
        half = len(taken) // 2
        super().acknowledge(taken[:half])
        self.fuse.step("half acknowledged")
        super().acknowledge(taken[half:])

    def reject(self, taken: Incoming) -> None:
        super().reject(taken)
        self.fuse.step("rejected")

    def put(self, batch: int, bit: int, channel: str, payload: bytes) -> Outcome:
        self.fuse.step("before a message is put")
        outcome = super().put(batch, bit, channel, payload)
        self.fuse.step("after a message is put")
        return outcome

    def noted(self, batch: int) -> int:
        self.fuse.step("before the notes are read")
        return super().noted(batch)


class Storm:
    """
    One storm.

    Args:
        kills: how often the delay process is killed.
        messages: how many are sent.
        seed: of what is random.
    """

    def __init__(self, kills: int, messages: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.kills, self.messages = kills, messages
        self.folder = Path(tempfile.mkdtemp(prefix="shmchan-storm-"))
        self.heap = self.folder / "delay.db"
        capacities = {"storm.narrow": 5, "storm.*": 3000}
        memory = (64 + messages // 1000) << 20
        self.layer = ShmChannelLayer(f"storm-{os.getpid()}", memory=memory, channel_capacity=capacities)
        self.last = mmap.mmap(-1, STEP_BYTES)
        self.due: list[float] = []
        self.came: Counter[int] = Counter()
        self.early = self.bad = self.killed = 0
        self.most_pending = 0
        self.deaths: Counter[str] = Counter()
        self.violations: list[str] = []

    def run(self) -> list[str]:
        started = time.time()
        spread = max(1.0, self.kills * 0.2)
        pid, deadline = self.start(), self.moment()
        heard = time.monotonic()
        while sum(self.came.values()) < self.messages or self.killed < self.kills:
            until = min(
                self.messages, self.messages * (0.3 + (time.time() - started) / spread)
            )  # some at once, then more and more
            for _ in range(200):
                if len(self.due) >= until or not self.send(len(self.due), started, spread):
                    break
            if self.receive():
                heard = time.monotonic()
            if self.killed < self.kills and time.monotonic() >= deadline:
                os.kill(pid, signal.SIGKILL)
                self.last[:STEP_BYTES] = b"at random".ljust(STEP_BYTES)
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.killed += 1
                self.deaths[self.last[:STEP_BYTES].strip().decode()] += 1
                pid, deadline = self.start(), self.moment()
                heard = time.monotonic()
            if time.monotonic() - heard > WATCHDOG:
                self.violations.append(f"nothing came for {WATCHDOG:g} s")
                break
            self.most_pending = max(self.most_pending, len(self.due) - sum(self.came.values()))
        for name in CHANNELS:
            while self.layer.receive([name])[0] is not None:
                self.violations.append(f"{name}: one too many")
        os.kill(pid, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code not in (0, -signal.SIGKILL):
            self.violations.append(f"the last delay process ended with {code}")
        self.judge()
        return self.violations

    def moment(self) -> float:
        """When the present process is killed, if it is not by its fuse."""
        return time.monotonic() + (self.random.uniform(0.001, 0.25) if self.killed % 2 else 0.5)

    def start(self) -> int:
        """Fork a delay process; every other one has a fuse, the one after the last kill has none."""
        fused = self.killed < self.kills and self.killed % 2 == 0
        deadly = STEPS[self.killed // 2 % len(STEPS)] if fused else ""
        times = self.random.choice([1, 1, 2, 3, 10])
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self.serve(Fuse(deadly, times, self.last))
                code = 0
            finally:
                os._exit(code)
        return pid

    def serve(self, fuse: Fuse) -> None:
        """The delay process, as `shmchan.delay.process.run_delay` has it."""
        logging.disable(logging.CRITICAL)
        with ShmChannelLayer.attach(self.layer.name) as layer, FusedHeap(self.heap, fuse) as heap:
            layer.reap()
            service = Service(heap, FusedPort(layer, fuse))
            signal.signal(signal.SIGTERM, lambda number, frame: service.stop())
            service.start()
            service.run()

    def send(self, number: int, started: float, spread: float) -> bool:
        """Send one, sometimes a bad one beside it; False when there is no room now."""
        try:
            if number % 50 == 7 and self.bad <= number // 50:
                self.layer.send("asgi.delay", {"channel": "storm.ordinary", "content": {"n": number}, "delay": -1})
                self.bad += 1
            target = "storm.narrow" if number % 997 == 1 else self.random.choice(TARGETS)
            now = time.time()
            content = {"n": number}
            if number % 3:
                due = started + self.random.uniform(0, spread)
                delay.send(target, content, at=due, channel_layer=self.layer)
            else:
                wait = self.random.uniform(0, spread)
                due = now + wait - 0.001  # a message of the layer knows the millisecond of its sending
                delay.send(target, content, delay=wait * 1000, channel_layer=self.layer)
            self.due.append(due)
        except ChannelFull:
            return False
        return True

    def receive(self) -> bool:
        """Take what came; whether there was any."""
        any_came = False
        for _ in range(300):
            name, message = self.layer.receive(CHANNELS)
            if name is None or message is None:
                break
            any_came = True
            number = message["n"]
            self.came[number] += 1
            self.early += time.time() < self.due[number]
        if not any_came:
            time.sleep(0.0005)
        return any_came

    def judge(self) -> None:
        twice = sum(count > 1 for count in self.came.values())
        lost = self.messages - len(self.came)
        for what, count in (("lost", lost), ("came twice", twice), ("came early", self.early)):
            if count:
                self.violations.append(f"{count} {what}")
        self.layer.reap()
        if (wrong := self.layer.check()) is not None:
            self.violations.append(f"the segment: {wrong}")
        with Heap(self.heap) as heap:
            counted = heap.statistics()
            if heap.open_batch_number() or counted["pending"]:
                self.violations.append(f"the heap is not empty: {counted}")
            for what, expected in (("accepted", self.messages), ("fired", self.messages), ("bad", self.bad)):
                if counted[what] != expected:
                    self.violations.append(f"{counted[what]} {what} are counted, {expected} were")
        for row in self.layer.all_channel_statistics():
            if row["messages_pending"] or any(count for cause, count in row["dropped"].items() if cause not in ("full", "bad")):
                self.violations.append(f"the channel {row['name']}: {row}")

    def close(self) -> None:
        self.layer.close()
        shutil.rmtree(self.folder)


def main() -> int:
    given = [int(text) for text in sys.argv[1:]]
    kills, messages, seed = (given + [100, 100_000, 0][len(given) :])[:3]
    seed = seed or random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}", flush=True)
    storm = Storm(kills, messages, seed)
    began = time.monotonic()
    try:
        violations = storm.run()
    finally:
        storm.close()
    for violation in violations:
        print(f"VIOLATION {violation}")
    steps = ", ".join(f"{count} {name}" for name, count in sorted(storm.deaths.items()))
    print(f"{storm.killed} kills ({steps}), {messages} messages and {storm.bad} bad ones, {time.monotonic() - began:.0f} s")
    print(f"at most {storm.most_pending} under way at once: {'no violation' if not violations else 'VIOLATED'}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
