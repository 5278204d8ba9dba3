"""
What may be asked of the delay process: the messages on ``asgi.delay``, checked.

Owns the rules and the reasons. Pure: times of a schedule, no clock. The delay process runs `parse` on what came; whoever calls
`shmchan.delay.send` runs the same rules before anything is sent.
"""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
from cronsim import CronSim, CronSimError

from shmchan import names

LONGEST = 100 * 366 * 86400
"""Seconds that a message may wait: a hundred years."""

SHORTEST_PERIOD = 0.01
LONGEST_ID = 200
REQUESTS = ("cancel", "pending", "purge", "stats")


EXPECTED: dict[str, tuple[tuple[type, ...], str]] = {
    "channel": ((str,), "the name of a channel, a str"),
    "delay": ((int, float), "a number of milliseconds"),
    "at": ((int, float), "a number of seconds since 1970"),
    "every": ((int, float, str), "a number of seconds, or a cron expression"),
    "id": ((str,), "a str"),
    "request": ((str,), f"one of {', '.join(REQUESTS)}"),
    "reply_channel": ((str,), "the name of a channel, a str"),
    "token": ((int,), "an int"),
    "after": ((int,), "the number of a message, an int"),
}
"""What the values of a message on ``asgi.delay`` are, by their keys, in types and in words; ``content`` is looked at alone."""


class BadMessage(ValueError):
    """
    A message on ``asgi.delay`` that nobody can serve; the text is the reason.

    Attributes:
        channel: where it was to go, if it says that.
    """

    def __init__(self, reason: str, channel: str | None = None) -> None:
        self.channel = channel
        super().__init__(reason)


class Order(msgspec.Struct):
    """
    A message that is to wait, as it travels; or, with ``request``, a question about those that do.

    Attributes:
        channel, content: where it goes, and what; content stays encoded.
        delay: milliseconds from when it was sent.
        at: seconds since 1970.
        every: seconds, or a cron expression.
        id: its name; one that has it already is replaced.
        request: one of REQUESTS.
        reply_channel: where the answer to a request goes, and ``token`` with it.
        after: for "pending": the last one that was answered before.
    """

    channel: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")
    delay: int | float | None = None
    at: int | float | None = None
    every: int | float | str | None = None
    id: str | None = None
    request: str | None = None
    reply_channel: str | None = None
    token: int = 0
    after: int = 0


_decode = msgspec.msgpack.Decoder(Order).decode
_decode_any = msgspec.msgpack.Decoder().decode


def parse(payload: bytes) -> Order:
    """
    What a message on ``asgi.delay`` asks for.

    Raises:
        BadMessage: why nobody can serve it.
    """
    try:
        order = _decode(payload)
    except msgspec.ValidationError:
        raise _explained(payload) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadMessage(f"it is no message ({error})") from None
    except RecursionError:
        raise BadMessage("it is nested too deep") from None
    try:
        check(order)
    except (TypeError, ValueError) as error:
        raise BadMessage(str(error), order.channel) from None
    return order


def _explained(payload: bytes) -> BadMessage:
    """What is wrong with a message that is no Order."""
    try:
        message = _decode_any(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return BadMessage(f"it is no message ({error})")
    except RecursionError:
        return BadMessage("it is nested too deep")
    if not isinstance(message, dict):
        return BadMessage(f"a message is a dict, this is a {type(message).__name__}")
    channel = message.get("channel")
    for key, (types, expected) in EXPECTED.items():
        value = message.get(key)
        if value is None and (key not in message or key not in ("token", "after")):
            continue
        if isinstance(value, bool) or not isinstance(value, types):
            found = "None" if value is None else f"{value!r:.100} ({type(value).__name__})"
            return BadMessage(f"its {key} is {expected}; this is {found}", channel if isinstance(channel, str) else None)
    return BadMessage("its keys are str")


def check(order: Order) -> None:
    """
    Raises:
        TypeError, ValueError: what is wrong with it.
    """
    if order.request is not None:
        if order.request not in REQUESTS:
            raise ValueError(f"request is one of {', '.join(REQUESTS)}, not {order.request!r}")
        if order.request == "cancel" and order.id is None:
            raise ValueError("a request to cancel names an id")
        if not 0 <= order.after < 1 << 63:
            raise ValueError(f"after is the number of a message, not {order.after}")
        if order.reply_channel is not None:
            names.check_channel(order.reply_channel)
        return
    if order.channel is None:
        raise ValueError("it has no channel to go to")
    names.check_channel(order.channel)
    first = bytes(order.content)[:1]
    if not first:
        raise ValueError("it has no content")
    if not (b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf")):  # MessagePack's three kinds of map
        raise TypeError("its content is no dict")
    check_times(order.delay, order.at, order.every)
    if order.id is not None:
        check_id(order.id)


def check_times(delay: float | None, at: float | None, every: float | str | None) -> None:
    """
    Raises:
        ValueError: these say no time, or two.
    """
    if delay is not None:
        if not (math.isfinite(delay) and 0 <= delay <= LONGEST * 1000):
            raise ValueError(f"delay is a number of milliseconds from 0 to {LONGEST * 1000}, a hundred years; not {delay!r}")
        if at is not None:
            raise ValueError("delay and at say two times; give one")
    if at is not None and not (math.isfinite(at) and 0 <= at <= LONGEST):
        raise ValueError(f"at is a number of seconds since 1970, up to {LONGEST}; not {at!r}")
    if every is None:
        if delay is None and at is None:
            raise ValueError("it says no time: give delay (ms), at (s since 1970) or every (s, or a cron expression)")
    elif isinstance(every, str):
        if delay is not None or at is not None:
            raise ValueError("a cron expression says when by itself; leave delay and at out")
        try:
            CronSim(every, datetime.now(UTC))
        except CronSimError as error:
            raise ValueError(f"every={every!r} is no cron expression ({error}); write five fields, like '*/5 * * * *'") from None
    elif not (math.isfinite(every) and SHORTEST_PERIOD <= every <= LONGEST):
        raise ValueError(f"every is a number of seconds from {SHORTEST_PERIOD} to {LONGEST}, or a cron expression; not {every!r}")


def check_id(ident: str) -> None:
    """
    Raises:
        ValueError: it is empty, or too long.
    """
    if not 0 < len(ident) <= LONGEST_ID:
        raise ValueError(f"an id has 1 to {LONGEST_ID} characters, this one has {len(ident)}")


def is_number(value: Any) -> bool:
    """Whether it is an int or a float; True and False are neither."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
