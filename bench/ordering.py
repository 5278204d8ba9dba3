"""
What does it cost that every connection's messages run in order, on many workers, with consumers that take their time?

Owns the workers, what they consume, and the check of the order. Run as ``python -m shmchan.bench.ordering SUBJECT WORKERS
CONNECTIONS MESSAGES MEAN_MS``; prints one round as JSON. Each connection sends MESSAGES; each consumer sleeps for a random time,
the same for all subjects. No front takes part.
"""

import json
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from shmchan import Channel, Message, parallel, route
from shmchan.layers.base import Outbox
from shmchan.layers.shm import ShmChannelLayer
from shmchan.sessions import enforce_ordering
from shmchan.worker import run_worker

from .results import SELF, Round

DEFAULT, UNORDERED = "order by lanes only", "unordered (@parallel)"
SUBJECTS = (SELF, DEFAULT, UNORDERED)
SEED = 20170108
SILENCE_SECONDS = 30.0


def consumer(message: Message) -> None:
    """Take the time that the message says, then tell that it was done."""
    time.sleep(message["delay"])
    Channel("done").send({"of": message["reply_channel"], "order": message["order"]})


CONSUMERS: dict[str, Callable[[Message], Any]] = {
    SELF: enforce_ordering(consumer),
    DEFAULT: consumer,
    UNORDERED: parallel(lambda message: consumer(message)),
}


def measure(subject: str, workers: int, connections: int, messages: int, mean_ms: float) -> Round:
    """
    One round of one subject.

    Args:
        subject: one of SUBJECTS.
        mean_ms: of the random times that consumers take.
    """
    name = f"ordering-{os.getpid()}"
    total = connections * messages
    chance = random.Random(SEED)
    with ShmChannelLayer.create(name, memory=256 << 20, capacity=2 * total + workers) as layer:
        if subject == UNORDERED:
            layer.declare_parallel("websocket.receive")
        with running(name, subject, workers):
            for _ in range(workers):
                layer.receive(["ready"], block=True)
            start = time.perf_counter()
            for order in range(1, messages + 1):
                for connection in range(connections):
                    delay = chance.uniform(0.0, 2 * mean_ms) / 1000
                    message = {"reply_channel": f"websocket.send.bench!{connection}", "order": order, "delay": delay}
                    layer.send("websocket.receive", message)
            done = [*results(layer, total)]
            seconds = time.perf_counter() - start
    return judged(subject, done, connections, messages, seconds)


def judged(subject: str, done: list[tuple[str, int]], connections: int, messages: int, seconds: float) -> Round:
    """What came back, counted. Nobody expects order of the unordered."""
    counts = Counter(done)
    last: dict[str, int] = {}
    misordered = 0
    for connection, order in done:
        misordered += order < last.get(connection, 0)
        last[connection] = order
    return Round(
        rate=len(done) / seconds,
        lost=connections * messages - len(counts),
        duplicated=sum(counts.values()) - len(counts),
        misordered=0 if subject == UNORDERED else misordered,
    )


def results(layer: ShmChannelLayer, total: int) -> Iterator[tuple[str, int]]:
    """What the consumers tell, until it is all or nothing came for long."""
    patience = time.monotonic() + SILENCE_SECONDS
    while total and time.monotonic() < patience:
        lease = layer.lease(["done"], 1.0)
        if lease is not None:
            layer.commit(lease, Outbox())
            yield lease.content["of"], lease.content["order"]
            total -= 1
            patience = time.monotonic() + SILENCE_SECONDS


@contextmanager
def running(name: str, subject: str, workers: int) -> Iterator[None]:
    """So many worker processes, ended by SIGTERM."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(name, subject), daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def work(name: str, subject: str) -> None:
    """A worker's process."""
    with ShmChannelLayer.attach(name) as layer:
        routing = [route("websocket.receive", CONSUMERS[subject])]
        run_worker(layer, routing, only=["websocket.receive"], ready=lambda: layer.send("ready", {}))


def main() -> None:
    subject, *numbers = sys.argv[1:]
    workers, connections, messages = (int(number) for number in numbers[:3])
    print(json.dumps(asdict(measure(subject, workers, connections, messages, float(numbers[3])))))


if __name__ == "__main__":
    main()
