"""
The event loop of a worker process, on which `async def` consumers run side by side.

Owns the loop's thread, how many consumers are on it, and what they leave owed. It never leases a message: the worker's threads
do, call the consumer, and hand on the coroutine that this returned. So plain consumers go on as they always did, and there is one
way to wait for messages; a loop that leases by itself, woken by a bell, would be a second one.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

import uvloop

from shmchan.layers.base import BaseChannelLayer, Parked
from shmchan.worker.owed import MAX_PARKED, RETRY_SECONDS, Owed

LIMIT = 500
log = logging.getLogger("shmchan.worker")


class ConsumerLoop:
    """
    One event loop in a thread of its own, started with the first consumer that needs it.

    Args:
        layer: where what is owed goes.
        failed: told, in the loop's thread, when the layer failed.
        limit: consumers at a time; while there are so many, whoever brings another one waits.
    """

    def __init__(self, layer: BaseChannelLayer, failed: Callable[[BaseException], None], limit: int = LIMIT) -> None:
        self._failed = failed
        self._limit = limit
        self._owed = Owed(layer)
        self._changed = threading.Condition()
        self._running = 0
        self._broken = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def spawn(self, rest: Coroutine[Any, Any, Parked | None], context: Context) -> None:
        """Run the rest of a consumer; waits while there are too many. Any thread may call it."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or (self._running < self._limit and len(self._owed) < MAX_PARKED))
            if self._broken:
                rest.close()  # its lease goes with the process
                return
            self._running += 1
            loop = self._loop or self._start()
        loop.call_soon_threadsafe(self._begin, rest, context)

    def close(self) -> None:
        """Wait for every consumer, settle what is owed, and end the thread. Nobody calls `spawn` any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or not self._running)
            loop, thread = self._loop, self._thread
            self._closing = True
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    # --- in the loop's thread

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(loop,), name="consumer-loop")
        self._thread.start()
        return loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while not self._closing:
                try:
                    loop.run_forever()
                except BaseException as error:  # noqa: BLE001 - exit() in a task that a consumer made; it ends no worker
                    log.error("a task that a consumer began raised %s; that ends no worker", type(error).__name__)
            leftover = asyncio.all_tasks(loop)  # begun by consumers that did not wait for them
            for task in leftover:
                task.cancel()
            if leftover:
                loop.run_until_complete(asyncio.wait(leftover, timeout=1.0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _begin(self, rest: Coroutine[Any, Any, Parked | None], context: Context) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._attend(rest), context=context)
        self._tasks.add(task)  # the loop itself keeps no more than a weak reference
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, rest: Coroutine[Any, Any, Parked | None]) -> None:
        try:
            parked = await rest
        except BaseException as error:  # noqa: BLE001 - no consumer's, those are judged: the layer's, and the worker raises it
            self._fail(error)
            return
        if parked is not None:
            self._owed.add(parked)
            if len(self._owed) == 1:
                self._retry_later()
        else:
            self._one_less(1)

    def _retry_later(self) -> None:
        assert self._loop is not None
        self._loop.call_later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        before = len(self._owed)
        try:
            self._owed.retry()
        except Exception as error:  # noqa: BLE001 - the worker raises it
            self._fail(error)
            return
        if self._owed:
            self._retry_later()
        self._one_less(before - len(self._owed))

    def _one_less(self, count: int) -> None:
        with self._changed:
            self._running -= count
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._broken = True
            self._changed.notify_all()
        self._failed(error)
