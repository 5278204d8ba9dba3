"""
How many messages a channel may hold.

Owns the reading of ``capacity`` and ``channel_capacity``, and remembers its answers. Pure; every process that sends runs it.
"""

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

DEFAULT_CAPACITY = 100
DEFAULT_LOCAL_CAPACITY = 100_000
BODY = "http.request.body?"
BODY_CAPACITY = 16  # pieces of an upload, of up to 256 KiB each: 100 of them would let a few uploads fill the segment
DELAY = "asgi.delay"
DELAY_CAPACITY = 10_000  # what waits for a fraction of a second: for the disk
_REMEMBERED = 10_000


class Capacities:
    """
    The capacities of one layer.

    Args:
        capacity: messages in a channel that nothing matches, and in each virtual channel of a process-local one.
        channel_capacity: globs or compiled regular expressions, each with a number; the first that matches wins.

    Raises:
        TypeError: a pattern is neither, or a number is no int.
        ValueError: a number is less than 1.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY, channel_capacity: Mapping[Any, int] | None = None) -> None:
        self.default = _positive("capacity", capacity)
        self.patterns = [
            (_compiled(pattern), _positive(f"channel_capacity of {pattern!r}", number))
            for pattern, number in (channel_capacity or {}).items()
        ]
        self._known: dict[str, int] = {}

    def of(self, channel: str) -> int:
        """
        Messages that a queue may hold.

        Args:
            channel: a channel's name; one that ends in ``!`` is the queue of all its virtual channels, which is as long as
                the first pattern that matches it says, else 100,000. Of what is left of a request's body 16 pieces wait, and
                10,000 messages for the delay process, unless a pattern says otherwise.
        """
        known = self._known.get(channel)
        if known is None:
            known = DEFAULT_LOCAL_CAPACITY if channel.endswith("!") else self.default
            if channel.startswith(BODY):
                known = min(known, BODY_CAPACITY)
            elif channel == DELAY:
                known = max(known, DELAY_CAPACITY)
            for pattern, number in self.patterns:
                if pattern.match(channel):
                    known = number
                    break
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[channel] = known
        return known


def _compiled(pattern: object) -> re.Pattern[str]:
    if isinstance(pattern, str):
        return re.compile(fnmatch.translate(pattern))
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return pattern
    raise TypeError(f"a key of channel_capacity is a glob (str) or a compiled regular expression of str, not {pattern!r}")


def _positive(what: str, number: object) -> int:
    if type(number) is not int:
        raise TypeError(f"{what} is an int, not {number!r}")
    if number < 1:
        raise ValueError(f"{what} is at least 1, not {number}")
    return number
