"""
How fast do two processes exchange a small dict? One subject, measured once, in a process of its own.

``python -m shmchan.bench.pair SUBJECT one-way|round-trip COUNT BACKLOG`` prints the numbers as JSON. A fresh process for each
measurement keeps the heaps, threads and queues of the subjects apart. This process receives and takes the time; its child sends
(one-way) or answers (round-trip). Each message carries its number, so that what is lost, doubled or out of order is seen. It is
a new dict each time, because multiprocessing.Queue pickles in a thread of its own, later.

A subject is made before the fork and used on both sides of it: ``sender(way)`` and ``receiver(way)`` give functions for two ways.
"""

import gc
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from .results import Round, percentiles

Message = dict[str, Any]
Send = Callable[[Message], object]
Receive = Callable[[], Message]

MESSAGE: Message = {"reply_channel": "websocket.send.abcdefgh!12345", "path": "/chat/room", "text": "x" * 64, "order": 0}
ROOM = 1_000  # messages under way; the pipe of the rival holds about 450
FULL_PAUSE = 0.0002
MEMORY = 64 << 20
QUEUE_BYTES = 8 << 20
THERE, BACK = 0, 1
FORK = multiprocessing.get_context("fork")


class Subject(Protocol):
    def sender(self, way: int) -> Send: ...
    def receiver(self, way: int) -> Receive: ...
    def park(self, count: int) -> None: ...
    def close(self) -> None: ...


class Rival:
    """What the rivals share: there is nothing to close, and none can hold messages for nobody."""

    def park(self, count: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Shm:
    """The channel layer in shared memory, through the methods that any application calls. Each process attaches for itself."""

    def __init__(self) -> None:
        self.name = f"bench-{os.getpid()}"
        self.owner = 0
        self.capacity = ROOM

    @property
    def layer(self) -> Any:
        if self.owner != os.getpid():
            from shmchan.layers import ShmChannelLayer

            self.owner = os.getpid()
            self._layer = ShmChannelLayer(self.name, capacity=self.capacity, memory=MEMORY)
        return self._layer

    def sender(self, way: int) -> Send:
        send, channel, full = self.layer.send, f"bench.{way}", self.layer.ChannelFull

        def put(message: Message) -> None:
            while True:
                try:
                    send(channel, message)
                    return
                except full:
                    time.sleep(FULL_PAUSE)

        return put

    def receiver(self, way: int) -> Receive:
        receive, channels = self.layer.receive, [f"bench.{way}"]
        return lambda: receive(channels, block=True)[1]

    def park(self, count: int) -> None:
        """Leave messages in a channel that nobody reads."""
        for order in range(count):
            self.layer.send("bench.parked", {**MESSAGE, "order": order})

    def close(self) -> None:
        if self.owner == os.getpid():
            self._layer.close()


class Pipe(Rival):
    """The fastest that comes with Python: one pipe, messages as msgpack by msgspec."""

    def __init__(self) -> None:
        import msgspec

        self.encode = msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder().decode
        self.pipes = [FORK.Pipe(duplex=False) for _ in (THERE, BACK)]

    def sender(self, way: int) -> Send:
        send_bytes, encode = self.pipes[way][1].send_bytes, self.encode
        return lambda message: send_bytes(encode(message))

    def receiver(self, way: int) -> Receive:
        receive_bytes, decode = self.pipes[way][0].recv_bytes, self.decode
        return lambda: decode(receive_bytes())


class Queue(Rival):
    """What most programs use: multiprocessing.Queue, with its feeder thread and pickle."""

    def __init__(self) -> None:
        self.queues: list[Any] = [FORK.Queue() for _ in (THERE, BACK)]

    def sender(self, way: int) -> Send:
        put: Send = self.queues[way].put
        return put

    def receiver(self, way: int) -> Receive:
        get: Receive = self.queues[way].get
        return get


class FasterFifo(Rival):
    """A circular buffer in shared memory under a mutex and a condition variable; here with msgpack too."""

    def __init__(self) -> None:
        import faster_fifo  # type: ignore[import-not-found, unused-ignore]
        import msgspec

        decode = msgspec.msgpack.Decoder().decode
        self.queues = [
            faster_fifo.Queue(
                max_size_bytes=QUEUE_BYTES, loads=lambda data: decode(bytes(data)), dumps=msgspec.msgpack.Encoder().encode
            )
            for _ in (THERE, BACK)
        ]

    def sender(self, way: int) -> Send:
        put = self.queues[way].put
        return lambda message: put(message, timeout=60)

    def receiver(self, way: int) -> Receive:
        get = self.queues[way].get
        return lambda: get(timeout=60)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "shmchan": Shm,
    "Pipe + msgspec": Pipe,
    "multiprocessing.Queue": Queue,
    "faster-fifo": FasterFifo,
}


class Ledger:
    """Follows the numbers of the messages that arrived, once the time has been taken."""

    def __init__(self) -> None:
        self.expected = self.duplicated = self.misordered = 0

    def note(self, orders: list[int]) -> None:
        for order in orders:
            if order == self.expected:
                self.expected += 1
            elif order < self.expected:
                self.duplicated += 1
            else:
                self.misordered += 1
                self.expected = order + 1

    def lost(self, received: int) -> int:
        """How many numbers below the highest never came."""
        return max(0, self.expected - (received - self.duplicated))


def in_child(work: Callable[[], object]) -> tuple[Any, Callable[[], None]]:
    """
    Start a child that prepares itself, says so, and works when it is told to.

    Args:
        work: called in the child; returns what is to be called at the start signal.

    Returns:
        The process, and the function that gives the signal.
    """
    ready, go = FORK.Event(), FORK.Event()

    def body() -> None:
        prepared: Any = work()
        ready.set()
        go.wait()
        prepared()

    process = FORK.Process(target=body, daemon=True)
    process.start()
    if not ready.wait(60):
        raise TimeoutError("the other process of the benchmark did not come up within 60 s")
    return process, go.set


def one_way(subject: Subject, count: int, backlog: int) -> Round:
    """``count`` messages from the child to here, over ``backlog`` that lie in the same channel all the time."""

    def send_all() -> Callable[[], None]:
        send = subject.sender(THERE)

        def run() -> None:
            for order in range(backlog, backlog + count):
                send({**MESSAGE, "order": order})
            subject.close()

        return run

    receive, ledger = subject.receiver(THERE), Ledger()
    if backlog:
        send = subject.sender(THERE)
        for order in range(backlog):
            send({**MESSAGE, "order": order})
    process, start = in_child(send_all)
    orders: list[int] = []
    note = orders.append
    begin = time.perf_counter()
    start()
    for _ in range(count):
        note(receive()["order"])
    seconds = time.perf_counter() - begin
    finish(process)
    ledger.note(orders)
    lost = ledger.lost(count)
    return Round(rate=count / seconds, lost=lost, duplicated=ledger.duplicated, misordered=ledger.misordered)


def round_trip(subject: Subject, count: int, backlog: int) -> Round:
    """``count`` questions from here, each answered by the child before the next; both sides block while they wait."""

    def answer_all() -> Callable[[], None]:
        receive, send = subject.receiver(THERE), subject.sender(BACK)

        def run() -> None:
            for _ in range(count):
                send(receive())
            subject.close()

        return run

    send, receive, ledger = subject.sender(THERE), subject.receiver(BACK), Ledger()
    if backlog:
        subject.park(backlog)
    process, start = in_child(answer_all)
    latencies, orders = [], []
    start()
    clock = time.perf_counter_ns
    begin = clock()
    for order in range(count):
        message = {**MESSAGE, "order": order}
        sent = clock()
        send(message)
        answer = receive()
        latencies.append(clock() - sent)
        orders.append(answer["order"])
    seconds = (clock() - begin) / 1e9
    finish(process)
    ledger.note(orders)
    lost = ledger.lost(count)
    latency = percentiles(latencies)
    return Round(rate=count / seconds, latency_us=latency, lost=lost, duplicated=ledger.duplicated, misordered=ledger.misordered)


def finish(process: Any) -> None:
    process.join(30)
    if process.exitcode != 0:
        process.kill()
        process.join()
        raise RuntimeError(f"the other process of the benchmark ended with {process.exitcode}; its traceback is above")


def main(subject_name: str, kind: str, count: str, backlog: str) -> None:
    gc.disable()  # for everybody: what it finds are the harness's own notes
    subject = SUBJECTS[subject_name]()
    if isinstance(subject, Shm):
        subject.capacity += int(backlog)
    measure = {"one-way": one_way, "round-trip": round_trip}[kind]
    try:
        result = measure(subject, int(count), int(backlog))
    finally:
        subject.close()
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main(*sys.argv[1:])
