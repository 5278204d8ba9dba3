"""
That an instance has no delay process, said where everybody who would need one can read it.

Owns the note: an empty file beside the segment, which goes with it; of a layer in memory, a mark in this process. It says that
the run has none (``--no-delay``), never that one is not alive just now: what is sent while a delay process is replaced is kept. A
delay process that is started beside such a run takes the note away. The supervisor writes it; who sends later reads it.
"""

import logging
import weakref
from pathlib import Path

from shmchan.exceptions import NoDelay
from shmchan.layers import instance
from shmchan.layers.base import DELAY_CHANNEL, BaseChannelLayer
from shmchan.layers.shm import ShmChannelLayer

log = logging.getLogger("shmchan.delay")

_in_memory: "weakref.WeakSet[BaseChannelLayer]" = weakref.WeakSet()


def declare(layer: BaseChannelLayer) -> None:
    """From now on this layer's instance has no delay process."""
    if isinstance(layer, ShmChannelLayer):
        _note(layer).touch(0o600)
    else:
        _in_memory.add(layer)


def withdraw(layer: BaseChannelLayer) -> None:
    """It has one after all."""
    if isinstance(layer, ShmChannelLayer):
        _note(layer).unlink(missing_ok=True)
    else:
        _in_memory.discard(layer)


def check(layer: BaseChannelLayer) -> None:
    """
    Let pass whoever needs the delay process of this layer's instance.

    Raises:
        NoDelay: it has none.
    """
    if _note(layer).exists() if isinstance(layer, ShmChannelLayer) else layer in _in_memory:
        raise NoDelay(layer.name)


def warn_of_rest(layer: BaseChannelLayer) -> None:
    """At the end of a run without a delay process: say what was sent to it all the same, not by `shmchan.delay.send`."""
    pending = layer.channel_statistics(DELAY_CHANNEL)["messages_pending"]
    if pending:
        log.warning(
            "%d message%s on %s, for which this run had no process (--no-delay); what no other takes is lost at its end",
            pending,
            " waits" if pending == 1 else "s wait",
            DELAY_CHANNEL,
        )


def _note(layer: ShmChannelLayer) -> Path:
    return instance.segment_path(instance.base_folder(), layer.name).with_name("without-delay")
