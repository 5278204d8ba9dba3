"""
One run of an application in one process, for debugging it.

Owns the threads of the front and of delayed messages, and the order in which they end. Consumers run in the main thread with the
terminal's stdin, so that breakpoint() works in them; messages go through an `InMemoryChannelLayer`. No consumer's time is
limited. There is no supervisor: what ends this process ends the run.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import FrameType

from shmchan.delay import absence
from shmchan.layers.base import FRONT_CHANNELS
from shmchan.layers.memory import InMemoryChannelLayer
from shmchan.signals import consumer_finished
from shmchan.supervisor.listeners import Listeners
from shmchan.supervisor.serve import RunOptions, Started, layer_options, load

log = logging.getLogger("shmchan.supervisor")


def serve_in_one_process(options: RunOptions, started: Callable[[Started], None]) -> int:
    """
    Serve until a signal ends it. Call it in the main thread.

    Args:
        options: what and how; workers and threads do not matter.
        started: called once when connections are accepted and consumers run.

    Returns:
        0, or 1 when the front failed.

    Raises:
        ShmchanError: it cannot start.
    """
    from shmchan.delay.process import delay_in_memory
    from shmchan.front.server import Front
    from shmchan.worker import run_worker

    router = load(options)
    layer = InMemoryChannelLayer(options.name, **layer_options(options))
    if not options.delay:
        absence.declare(layer)
    delay = delay_in_memory(layer, options.delay_db) if options.delay else nullcontext()
    with layer, delay, Listeners(options.binds, options.unix) as listeners:
        front = Front(layer, [listener.dup() for listener in listeners.sockets], options.front)  # it closes those it was given
        urls = listeners.urls
        codes: list[int] = []
        accepting = threading.Event()
        thread = threading.Thread(target=lambda: codes.append(front.run(accepting.set)), name="front", daemon=True)

        def is_over() -> bool:
            if thread.is_alive():
                return False
            return not any(layer.channel_statistics(channel)["messages_pending"] for channel in FRONT_CHANNELS)

        def begin() -> None:
            thread.start()
            while thread.is_alive() and not accepting.wait(0.1):
                pass
            started(Started(options, urls, layer.memory))

        def stop(number: int, frame: FrameType | None) -> None:
            listeners.remove()
            if front.stopping:
                os._exit(1)  # whatever runs; it may sit at a breakpoint
            front.stop_threadsafe()

        def take_back(sender: object, **given: object) -> None:
            """Ctrl-C is ours again: pdb keeps it after `continue`."""
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, stop)

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        consumer_finished.connect(take_back)
        try:
            run_worker(
                layer,
                router,
                only=options.only,
                exclude=options.exclude,
                async_limit=options.async_limit,
                stop=is_over,
                ready=begin,
                signals=False,
                limited=False,
            )
        finally:
            consumer_finished.disconnect(take_back)
            for number, handler in before.items():
                signal.signal(number, handler)
        thread.join()
        if not options.delay:
            absence.warn_of_rest(layer)
    return codes[0] if codes else 1
