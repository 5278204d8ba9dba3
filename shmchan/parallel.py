"""
`parallel`: a consumer whose channel gives up the order of its connections' messages.

Owns the mark; the worker finds it through the router and declares the channel to the layer. It runs at import, in workers.
"""

from collections.abc import Callable
from typing import Any, TypeVar

C = TypeVar("C", bound=Callable[..., Any])
_MARK = "shmchan_parallel"


def parallel(consumer: C) -> C:
    """
    Let messages on this consumer's channel run at any time, on any worker, also several of one connection at once.

    It concerns the whole channel, every other consumer on it included.
    """
    if not callable(consumer):
        raise TypeError(f"@parallel goes on a consumer, without arguments; this is {consumer!r}")
    setattr(consumer, _MARK, True)
    return consumer


def is_parallel(consumer: object) -> bool:
    """Whether a consumer has the mark; decorators that use `functools.wraps` keep it."""
    return getattr(consumer, _MARK, False) is True
