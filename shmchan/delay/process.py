"""
The delay process from its first to its last moment, and the same for a moment in others.

Owns the signals, and the order of owning: the heap's lock first, then the dead are reaped, so that the predecessor's messages are
all back before the first one is taken. The supervisor forks `run_delay`; it runs `settle` itself before and after a run.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from shmchan.delay import absence
from shmchan.delay.heap import Heap
from shmchan.delay.service import Service
from shmchan.exceptions import HeapError, ShmchanError
from shmchan.layers.delay_port import MemoryDelayPort, ShmDelayPort
from shmchan.layers.memory import InMemoryChannelLayer
from shmchan.layers.shm import ShmChannelLayer

log = logging.getLogger("shmchan.delay")


def run_delay(layer: ShmChannelLayer, path: Path, ready: Callable[[], object] | None = None) -> int:
    """
    Be the delay process of a layer until SIGTERM or SIGINT.

    Returns:
        0.

    Raises:
        HeapError: the heap cannot be used.
        ShmchanError: the layer cannot.
    """
    with Heap(path) as heap:
        layer.reap()
        port = ShmDelayPort(layer)
        service = Service(heap, port)

        def stop(number: int, frame: FrameType | None) -> None:
            service.stop()

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            service.start()
            absence.withdraw(layer)
            if ready is not None:
                ready()
            service.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            service.close()
            port.close()
    return 0


@contextmanager
def delay_in_memory(layer: InMemoryChannelLayer, path: Path | None) -> Iterator[None]:
    """A thread that is the delay process, for `run --debug`; None as path: what waits ends with it."""
    with Heap(path) as heap:
        port = MemoryDelayPort(layer)
        service = Service(heap, port)
        service.start()
        thread = threading.Thread(target=_run_logged, args=(service,), name="delay", daemon=True)
        thread.start()
        try:
            yield
        finally:
            service.stop()
            thread.join()
            service.close()
            port.close()


def _run_logged(service: Service) -> None:
    try:
        service.run()
    except ShmchanError as error:
        log.error("delayed messages go out no more: %s", error)


def settle(layer: ShmChannelLayer, path: Path) -> None:
    """Store what still waits on ``asgi.delay``: of a run that was killed before the next, of one that ends after it."""
    layer.reap()
    if not path.exists() and not layer.channel_statistics("asgi.delay")["messages_pending"]:
        return
    with Heap(path) as heap:
        port = ShmDelayPort(layer)
        service = Service(heap, port)
        try:
            service.start()
            service.stopping = True
            while service.step():
                pass
        finally:
            service.close()
            port.close()


def settle_left_over(name: str, path: Path) -> None:
    """
    Settle the segment that a killed run left behind, if there is one; then it may be replaced.

    Raises:
        HeapError: the heap cannot be used; the segment is still there.
    """
    try:
        layer = ShmChannelLayer.attach_left_over(name)
        if layer is None:
            return
        with layer:
            settle(layer, path)
    except HeapError:
        raise
    except ShmchanError as error:
        log.warning("what a killed run of %s had not stored of delayed messages is lost: %s", name, error)


def settle_rest(layer: ShmChannelLayer, path: Path) -> None:
    """The same at the end of a run, whose segment goes."""
    try:
        settle(layer, path)
    except ShmchanError as error:
        log.error("what was sent to asgi.delay in the last moment is lost: %s", error)
