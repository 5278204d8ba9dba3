"""
`send`, `cancel` and `pending`: what applications ask of the delay process.

Owns how a question travels: on ``asgi.delay`` like everything else, behind what was sent before it; the answer comes on a channel
of the caller's own. It never opens the heap's file. Consumers and any other process that attaches run it.
"""

import itertools
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from shmchan import names
from shmchan.asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from shmchan.channel import Channel
from shmchan.delay import absence
from shmchan.delay.order import check_id, check_times, is_number
from shmchan.exceptions import DelaySilent
from shmchan.layers.base import DELAY_CHANNEL, BaseChannelLayer, Message

PATIENCE = 10.0
"""Seconds that an answer may take, unless the caller says otherwise."""


class _Threads(threading.local):
    """Where each thread gets its answers."""

    def __init__(self) -> None:
        self.answers: WeakKeyDictionary[BaseChannelLayer, str] = WeakKeyDictionary()


_threads = _Threads()
_tokens = itertools.count(1)


@dataclass(frozen=True)
class Scheduled:
    """
    A message that waits.

    Attributes:
        id: what `cancel` takes.
        channel, content: where it goes, and what; content is None where it is longer than 256 KiB, or is
            no message.
        due: seconds since 1970, by the clock as it is now; of the next try.
        every: seconds or a cron expression, if it repeats.
        tries: how often its channel was full.
    """

    id: str
    channel: str
    content: Message | None
    due: float
    every: float | str | None
    tries: int


def send(
    channel: str | Channel,
    content: Message,
    delay: float | None = None,
    at: float | None = None,
    every: float | str | None = None,
    id: str | None = None,
    *,
    alias: str = DEFAULT_CHANNEL_LAYER,
    channel_layer: BaseChannelLayer | None = None,
) -> str:
    """
    Send a message later, or again and again. In a consumer it goes out with what else the consumer sends.

    Args:
        channel: where it goes.
        content: a dict of plain values.
        delay: milliseconds from now.
        at: seconds since 1970, as of `time.time`; in the past: at once.
        every: a period in seconds, first after ``delay`` or at ``at`` if given; or a cron expression of five fields, in the
            machine's time zone. Runs that were missed are one.
        id: its name; a message that waits under the same name is replaced.
        alias, channel_layer: which layer, as for `Channel`.

    Returns:
        Its id, for `cancel`.

    Raises:
        TypeError: something has the wrong type, or cannot travel.
        ValueError: a time cannot be, or there is none, or two.
        MessageTooLarge: the message is too long.
        ChannelFull: the delay process does not keep up, or its disk is full; only outside of a consumer.
        NoDelay: the instance runs without a delay process.
    """
    name = channel.name if isinstance(channel, Channel) else names.check_channel(channel)
    if not isinstance(content, dict):
        raise TypeError(f'content is a dict, like {{"text": "hello"}}, not {content!r}')
    for what, value in (("delay", delay), ("at", at)):
        if value is not None and not is_number(value):
            raise TypeError(f"{what} is a number, not {value!r}")
    if every is not None and not isinstance(every, str) and not is_number(every):
        raise TypeError(f"every is a number of seconds or a cron expression, not {every!r}")
    check_times(delay, at, every)
    if id is None:
        id = f"{time.time_ns():016x}{secrets.token_hex(4)}"  # grows, so that the heap's index does at its end
    elif not isinstance(id, str):
        raise TypeError(f"id is a str, not {id!r}")
    check_id(id)
    order = {"channel": name, "content": content, "delay": delay, "at": at, "every": every, "id": id}
    message = {key: value for key, value in order.items() if value is not None}
    absence.check(channel_layers[alias] if channel_layer is None else channel_layer)
    Channel(DELAY_CHANNEL, alias, channel_layer).send(message)
    return id


def cancel(
    id: str,
    *,
    timeout: float = PATIENCE,
    alias: str = DEFAULT_CHANNEL_LAYER,
    channel_layer: BaseChannelLayer | None = None,
) -> bool:
    """
    Take back a message that waits; at once, also in a consumer, whose own sends go out only after it.

    Args:
        id: as `send` returned it; what came without one is named in `pending`.
        timeout: seconds to wait for the answer.

    Returns:
        Whether it was there; if not, it is under way already, or was never known.

    Raises:
        TypeError, ValueError: that is no id.
        DelaySilent: no answer came; the message may be cancelled later.
        NoDelay: the instance runs without a delay process.
        ChannelFull: the delay process does not keep up.
    """
    if not isinstance(id, str):
        raise TypeError(f"id is a str, not {id!r}")
    check_id(id)
    layer = channel_layers[alias] if channel_layer is None else channel_layer
    return bool(ask(layer, {"request": "cancel", "id": id}, timeout)["done"])


def pending(
    channel: str | Channel | None = None,
    *,
    timeout: float = PATIENCE,
    alias: str = DEFAULT_CHANNEL_LAYER,
    channel_layer: BaseChannelLayer | None = None,
) -> list[Scheduled]:
    """
    What waits, in the order in which it came; everything that was sent before this call is in it.

    Args:
        channel: only what goes there.
        timeout: seconds to wait for each part of the answer.

    Raises:
        DelaySilent: no answer came.
        NoDelay: the instance runs without a delay process.
        ChannelFull: the delay process does not keep up.
    """
    name = channel.name if isinstance(channel, Channel) else channel
    layer = channel_layers[alias] if channel_layer is None else channel_layer
    found: list[Scheduled] = []
    after: int | None = 0
    while after is not None:
        rows, after = page(layer, name, after, timeout)
        found += rows
    return found


def page(
    layer: BaseChannelLayer, channel: str | None, after: int, timeout: float = PATIENCE
) -> tuple[list[Scheduled], int | None]:
    """A part of what waits, and from where to go on; None when that was all."""
    question: Message = {"request": "pending", "after": after}
    if channel is not None:
        question["channel"] = names.check_channel(channel)
    answer = ask(layer, question, timeout)
    rows = [Scheduled(*columns) for _, *columns in answer["rows"]]
    return rows, answer["rows"][-1][0] if answer["more"] else None


def ask(layer: BaseChannelLayer, question: Message, timeout: float = PATIENCE) -> dict[str, Any]:
    """
    Ask the delay process something.

    Raises:
        DelaySilent: no answer came in ``timeout`` seconds.
        NoDelay: there is no delay process.
    """
    absence.check(layer)
    answers = _threads.answers
    reply_channel = answers.get(layer)
    if reply_channel is None:
        reply_channel = answers[layer] = layer.new_channel("shmchan.delay.answer?")
    token = next(_tokens)
    layer.send(DELAY_CHANNEL, {**question, "token": token, "reply_channel": reply_channel})
    end = time.monotonic() + timeout
    while True:
        _, answer = layer.receive([reply_channel], block=True, timeout=max(0.0, end - time.monotonic()))
        if answer is None:
            raise DelaySilent(layer.name, timeout)
        if answer["token"] == token:  # else to an earlier question, which nobody waits for any more
            return answer
