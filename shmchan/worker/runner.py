"""
A worker process: threads that lease, handle and commit, until they are told to stop.

Owns the threads that lease, and SIGTERM. It never looks into a message. The supervisor runs it in each worker process, `shmchan
worker` in the one it is, and `run --debug` beside the front.
"""

import fnmatch
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from shmchan.asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from shmchan.exceptions import AppError
from shmchan.layers.base import BaseChannelLayer
from shmchan.routing import Router
from shmchan.signals import worker_process_ready, worker_ready
from shmchan.worker.consume import Handler
from shmchan.worker.limits import Limits
from shmchan.worker.loop import LIMIT, ConsumerLoop
from shmchan.worker.owed import MAX_PARKED, RETRY_SECONDS, Owed
from shmchan.worker.stuck import StuckWatch

IDLE_SECONDS = 0.2  # the longest that a stop asked for by another thread goes unseen
log = logging.getLogger("shmchan.worker")


def run_worker(
    layer: BaseChannelLayer,
    routing: Any,
    *,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int = 1,
    async_limit: int = LIMIT,
    stop: Callable[[], bool] | threading.Event | None = None,
    ready: Callable[[], object] | None = None,
    signals: bool = True,
    limited: bool = True,
) -> int:
    """
    Consume messages until SIGTERM, SIGINT (both only if called from the main thread) or ``stop``; what runs is finished first.

    Args:
        layer: where they come from; it becomes this process's default layer meanwhile.
        routing: anything that `Router` takes; the defaults are put at its end.
        only: globs; take only messages of channels that one of them matches.
        exclude: globs; take no messages of channels that one of them matches.
        threads: how many plain consumers may run at once.
        async_limit: how many `async def` consumers may run at once, beside those.
        stop: asked now and then whether to stop.
        ready: called once, before the first message.
        signals: whether to stop for SIGTERM and SIGINT.
        limited: whether the timeouts of routes count.

    Returns:
        0, an exit code: it was told to stop.

    Raises:
        AppError: the filters leave no channel.
        ShmchanError: the layer failed; nothing can go on without it.
    """
    if threads < 1:
        raise ValueError(f"a worker has at least 1 thread, not {threads}")
    if async_limit < 1:
        raise ValueError(f"a worker runs at least 1 async consumer at a time, not {async_limit}")
    router = routing if isinstance(routing, Router) else Router(routing)
    if not router.defaults:
        router.check_default()
    worker = Worker(layer, router, _filtered(router, only, exclude), stop, async_limit, limited)
    for channel in sorted(router.parallel_channels()):
        layer.declare_parallel(channel)
    layer.router = router
    before = channel_layers.set(DEFAULT_CHANNEL_LAYER, layer)
    try:
        with _signals(worker) if signals else nullcontext():
            worker_process_ready.send(Worker)
            if ready is not None:
                ready()
            worker.run(threads)
    finally:
        channel_layers.set(DEFAULT_CHANNEL_LAYER, before)
    return 0


class Worker:
    """
    The threads of one worker process.

    Args:
        layer, router: as for `run_worker`.
        channels: the channels to take messages from.
        stop: asked now and then whether to stop.
    """

    def __init__(
        self,
        layer: BaseChannelLayer,
        router: Router,
        channels: list[str],
        stop: Callable[[], bool] | threading.Event | None = None,
        async_limit: int = LIMIT,
        limited: bool = True,
    ) -> None:
        self.layer = layer
        self.router = router
        self.channels = channels
        self.stopping = False
        self._asked = stop.is_set if isinstance(stop, threading.Event) else stop
        self._max_parked = MAX_PARKED
        self._failure: BaseException | None = None
        self._limits = Limits() if limited else None
        self._loop = ConsumerLoop(layer, self._fail, async_limit)
        self._stuck = StuckWatch()

    def run(self, threads: int = 1) -> None:
        """
        Consume until told to stop, in this thread and ``threads - 1`` others.

        Raises:
            ShmchanError: the layer failed, in any of them.
        """
        with self._stuck if self._limits is not None else nullcontext():
            self._run(threads)
        if self._failure is not None:
            raise self._failure

    def _run(self, threads: int) -> None:
        self._max_parked = max(1, MAX_PARKED // threads)
        others = [threading.Thread(target=self._run_other, name=f"worker-{number}") for number in range(2, threads + 1)]
        for thread in others:
            thread.start()
        try:
            self._lease()
        finally:
            self.stopping = True
            for thread in others:
                thread.join()
            self._loop.close()

    def _run_other(self) -> None:
        try:
            self._lease()
        except BaseException as error:  # noqa: BLE001 - raised again by run(), in the main thread
            self._fail(error)
        finally:
            self.stopping = True

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self.stopping = True

    def _lease(self) -> None:
        layer, channels, asked = self.layer, self.channels, self._asked
        handle = Handler(layer, self.router, self._loop.spawn, self._limits).handle
        owed = Owed(layer)
        hand = self._stuck.hand()
        worker_ready.send(Worker)
        while not self.stopping and not (asked is not None and asked()):
            if owed:
                owed.retry()
                if len(owed) >= self._max_parked:
                    time.sleep(RETRY_SECONDS)
                    continue
            hand.lease = lease = layer.lease(channels, RETRY_SECONDS if owed else IDLE_SECONDS)
            if lease is not None:
                parked = handle(lease)
                if parked is not None:
                    owed.add(parked)
        while owed:
            time.sleep(RETRY_SECONDS)
            owed.retry()


def _filtered(router: Router, only: Sequence[str], exclude: Sequence[str]) -> list[str]:
    channels = sorted(router.channels)
    if only:
        channels = [channel for channel in channels if any(fnmatch.fnmatchcase(channel, glob) for glob in only)]
    channels = [channel for channel in channels if not any(fnmatch.fnmatchcase(channel, glob) for glob in exclude)]
    if not channels:
        have = ", ".join(sorted(router.channels))
        raise AppError(f"the filters leave this worker no channel to take messages from; the routing has {have}")
    return channels


@contextmanager
def _signals(worker: Worker) -> Iterator[None]:
    """Have SIGTERM and SIGINT stop the worker; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        worker.stopping = True

    # Under a supervisor SIGINT is ignored: Ctrl-C reaches the whole process group, and the supervisor stops us in its order.
    numbers = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
