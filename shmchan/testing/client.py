"""
A client that sends a message, consumes it in this process, and reads the answers.

Owns one reply channel, and what came to it while a consumer streams a long response. What a consumer raises reaches the test;
everything else is as in a worker: the same handler matches, runs and commits. Test processes run it.
"""

import asyncio
import contextvars
import copy
import functools
import secrets
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from shmchan.asgi import DEFAULT_CHANNEL_LAYER
from shmchan.channel import Group
from shmchan.exceptions import ChannelFull
from shmchan.http.streaming import when_full
from shmchan.layers.base import BaseChannelLayer, Parked
from shmchan.message import Message
from shmchan.routing import Consumer, Found, Router
from shmchan.testing.layers import layer_of
from shmchan.worker.consume import Handler, Job, Outcome

RETRY_SECONDS = 0.005

LONGEST_STREAM = 64 << 20
"""Bytes that a client takes of one response while it is made; one that never ends would take all memory."""


class Client:
    """
    Somebody whom consumers answer.

    Args:
        alias: the layer it is on; see `shmchan.testing.own_layer`.

    Attributes:
        reply_channel: the name of the channel that answers come to.
    """

    prefix = "test.reply"

    def __init__(self, alias: str = DEFAULT_CHANNEL_LAYER) -> None:
        self.alias = alias
        self._queue = f"{self.prefix}.{secrets.token_hex(8)}!"
        self.reply_channel = f"{self._queue}client"
        self._taken: deque[dict[str, Any]] = deque()  # before `receive` asked

    @property
    def channel_layer(self) -> BaseChannelLayer:
        """The layer it is on."""
        return layer_of(self.alias)

    def send(self, to: str, content: dict[str, Any] = {}) -> None:  # noqa: B006 - it is copied
        """Send a message, with this client's reply channel unless it has one."""
        self.channel_layer.send(to, {"reply_channel": self.reply_channel, **copy.deepcopy(content)})

    def consume(self, channel: str, fail_on_none: bool = True) -> Any:
        """
        Consume the next message of a channel.

        Args:
            fail_on_none: whether it is an error that there is none, or that no route matches it.

        Returns:
            What the consumer returned; None if there was nothing to consume.

        Raises:
            AssertionError: see ``fail_on_none``; or a response is streamed to somebody else, or without end.
            Exception: whatever the consumer raised, after what it had sent went out; not what is control flow.
        """
        lease = self.channel_layer.lease([channel], 0.0)
        if lease is None:
            if fail_on_none:
                raise AssertionError(f"there is no message on {channel}; send one first, or give fail_on_none=False")
            return None
        handler = _TestHandler(self.channel_layer, self._router())
        with self._taking_streams():
            handler.settle(handler.handle(lease))
        if handler.error is not None:
            raise handler.error
        if handler.unmatched and fail_on_none:
            raise AssertionError(f"no route matches {lease.content!r} on {channel}")
        return handler.result

    def send_and_consume(
        self,
        channel: str,
        content: dict[str, Any] = {},  # noqa: B006 - it is copied
        fail_on_none: bool = True,
    ) -> Any:
        """Send a message and consume it; returns what the consumer returned."""
        self.send(channel, content)
        return self.consume(channel, fail_on_none=fail_on_none)

    def receive(self) -> Any:
        """The content of the next answer, of a streamed one the next piece; None if there is none."""
        return self._taken.popleft() if self._taken else self.channel_layer.receive([self._queue])[1]

    def join_group(self, name: str) -> None:
        """Put this client's reply channel into a group."""
        Group(name, channel_layer=self.channel_layer).add(self.reply_channel)

    def get_next_message(self, channel: str, alias: str | None = None, require: bool = False) -> Message | None:
        """
        Take the next message of any channel, without consuming it.

        Raises:
            AssertionError: there is none, and it was required.
        """
        return next_message(channel, alias or self.alias, require)

    def get_consumer_by_channel(self, channel: str) -> Consumer | None:
        """The consumer that a message on a channel reaches which has nothing that filters could match."""
        match = self._router().match(Message({"text": ""}, channel, self.channel_layer))
        return None if match is None else match[0]

    @contextmanager
    def _taking_streams(self) -> Iterator[None]:
        """Take the pieces of a response when there is no room for more: the consumer that makes them is in the test's thread."""
        size = 0

        def take(reply_channel: str) -> None:
            nonlocal size
            if reply_channel != self.reply_channel:
                raise AssertionError(
                    f"a response of many pieces goes to {reply_channel}, where nobody takes them; consume the request with the "
                    f"client that sent it"
                )
            before = len(self._taken)
            while (piece := self.channel_layer.receive([self._queue])[1]) is not None:
                self._taken.append(piece)
                size += len(piece.get("content", b""))
            if len(self._taken) == before:
                raise ChannelFull(reply_channel)  # of memory: nothing of ours lies there
            if size > LONGEST_STREAM:
                raise AssertionError(
                    f"a response has more than {LONGEST_STREAM >> 20} MiB, and may not end; end it sooner in a test, or test it "
                    f"with a LiveServer"
                )

        token = when_full.set(take)
        try:
            yield
        finally:
            when_full.reset(token)

    def _router(self) -> Router:
        router: Router | None = self.channel_layer.router
        if router is None:
            raise AssertionError("there are no routes to consume by; use `with apply_routes([route(...), ...]):`")
        return router


def next_message(channel: str, alias: str = DEFAULT_CHANNEL_LAYER, require: bool = False) -> Message | None:
    """See `Client.get_next_message`."""
    layer = layer_of(alias)
    prefix, mark, _ = channel.partition("!")
    name, content = layer.receive([prefix + mark])
    if name is None or content is None:
        if require:
            raise AssertionError(f"there is no message on {channel}, and there should be one")
        return None
    return Message(content, name, layer)


class _TestHandler(Handler):
    """A worker's handler that keeps what the consumer returned or raised."""

    def __init__(self, layer: BaseChannelLayer, router: Router) -> None:
        super().__init__(layer, router, self._run_to_its_end)
        self.result: Any = None
        self.error: BaseException | None = None
        self.unmatched = False

    def backoff(self, attempts: int) -> float:
        """Tests consume again when they like."""
        return 0.0

    def settle(self, parked: Parked | None) -> None:
        """Push what is owed. Raises ChannelFull if there was no room in time."""
        while parked is not None and not self.layer.push(parked):
            time.sleep(RETRY_SECONDS)
        if parked is not None and parked.dropped:
            raise ChannelFull(next(iter(parked.dropped)), self.layer.capacity)

    def _match(self, channel: str, message: Message) -> Found | None:
        found = super()._match(channel, message)
        self.unmatched = found is None
        return found

    def _run(self, job: Job, kwargs: dict[str, Any]) -> Any:
        consumer = job.consumer

        @functools.wraps(consumer)
        def keeping(message: Message, **given: Any) -> Any:
            self.result = consumer(message, **given)
            return self.result

        return super()._run(job._replace(consumer=keeping), kwargs)

    async def _run_rest(self, job: Job, coroutine: Coroutine[Any, Any, Any], seconds: float | None = None) -> Outcome:
        async def keeping() -> Any:
            self.result = await coroutine
            return self.result

        return await super()._run_rest(job, keeping(), seconds)

    def _judge(self, error: BaseException, job: Job) -> Outcome:
        outcome = super()._judge(error, job)
        if outcome in (Outcome.FAILED, Outcome.LATE):
            self.error = error
        return outcome

    def _run_to_its_end(self, rest: Coroutine[Any, Any, Parked | None], context: Context) -> None:
        """In a thread, since the test's own may have a loop that runs."""

        def run() -> None:
            with asyncio.Runner() as runner:
                found.append(runner.run(rest, context=context))

        found: list[Parked | None] = []
        thread = threading.Thread(target=contextvars.Context().run, args=(run,))
        thread.start()
        thread.join()
        self.settle(found[0] if found else None)
