"""
What happens to one leased message.

Owns the way lease → match → policy → consumer → one commit, and what each way a consumer can end means. It never waits for
messages, and no consumer, whatever it does, makes it raise: only the layer's own faults come out of it. One for each thread of
a worker.

A consumer that returns a coroutine (`async def`) has only begun: the coroutine is handed on, with its context, to whoever runs
the loop, and the same end awaits it there.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from enum import Enum
from inspect import isasyncgen, isawaitable, iscoroutine, isgenerator
from typing import Any, NamedTuple, TypeGuard

from shmchan import names
from shmchan.exceptions import (
    ChannelSocketException,
    ConsumeLater,
    ConsumerTimeout,
    ControlFlow,
    DenyConnection,
    RequestAborted,
    RequestTimeout,
    ResponseLater,
    ShmchanError,
)
from shmchan.http import TEXT, Response
from shmchan.http.response import refusal
from shmchan.layers import wire
from shmchan.layers.base import BaseChannelLayer, Lease, Outbox, Parked, Policy, default_policy
from shmchan.layers.memories import Kept
from shmchan.message import Message
from shmchan.pending import Pending, current
from shmchan.routing import DEFAULTS, Consumer, Found, Options, Router, describe
from shmchan.signals import consumer_finished, consumer_started
from shmchan.worker.limits import Limits, Watch

MAX_TRIES = 10  # of a message whose consumer raises ConsumeLater
FIRST_BACKOFF = 0.05  # seconds, doubled with every try
LONGEST_BACKOFF = 5.0
PLAIN = (str, bytes, int, float, tuple, list, dict, set)  # what somebody may return who takes it for an answer
log = logging.getLogger("shmchan.worker")


class Outcome(Enum):
    """How a consumer ended."""

    DONE = "returned, or asked for something that was done"
    LATER = "raised ConsumeLater"
    DENIED = "raised DenyConnection"
    FAILED = "raised what nobody caught"
    LATE = "was told that its time is over, and ended"


FAILURES = {Outcome.FAILED: (500, b"Internal Server Error"), Outcome.LATE: (504, b"Gateway Timeout")}


class Job(NamedTuple):
    """A message in hand, its consumer, and what that has sent."""

    lease: Lease
    message: Message
    reply: object
    pending: Pending
    consumer: Consumer
    options: Options


new = tuple.__new__  # half of what Job(...) takes, on the way of every message
Spawn = Callable[[Coroutine[Any, Any, "Parked | None"], Context], None]


class Handler:
    """
    Handles leased messages.

    Args:
        layer: where they come from.
        router: who gets them.
        spawn: runs the rest of an `async def` consumer, in the context it is given; what the coroutine returns is owed, as what
            `handle` returns. None: such consumers fail.
        limits: the time limits of this process; None: no consumer's time is limited.
    """

    def __init__(self, layer: BaseChannelLayer, router: Router, spawn: Spawn | None = None, limits: Limits | None = None) -> None:
        self.layer = layer
        self.router = router
        self.spawn = spawn
        self.limits = limits
        self._policies = {channel: default_policy(channel) for channel in router.channels}
        self._denial = layer.encode({"close": True})
        self._closing = layer.encode({"close": 1011})
        self._failures = {outcome: self._failure(*answer) for outcome, answer in FAILURES.items()}
        self._silent: set[int] = set()  # ids of consumers

    def backoff(self, attempts: int) -> float:
        """Seconds until a message comes again whose consumer raised ConsumeLater."""
        return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0**attempts)

    def _failure(self, status: int, text: bytes) -> dict[str, bytes]:
        return {
            "http.request": self.layer.encode({"status": status, "headers": TEXT, "content": text}),
            "websocket.connect": self.layer.encode({"accept": False, "status": status, "content": text}),
        }

    def handle(self, lease: Lease) -> Parked | None:
        """
        Consume one message and commit it.

        Returns:
            What is owed because a target was full; None if everything is settled, or is in the hands of ``spawn``.
        """
        layer = self.layer
        channel = lease.channel
        reply = lease.content.get("reply_channel")  # now, since a consumer may do anything to its message
        message = Message(lease.content, channel, layer)
        pending = Pending(layer)
        found = self._match(channel, message)
        if found is None:
            self._fail(Job(lease, message, reply, pending, _nobody, DEFAULTS), Outcome.FAILED)
            return layer.commit(lease, pending.close())
        consumer, kwargs, options = found
        policy = options.on_crash or self._policies.get(channel) or default_policy(channel)
        layer.set_policy(lease, policy)
        if consumer_started.receivers:
            consumer_started.send(Handler, message=message)
        job = new(Job, (lease, message, reply, pending, consumer, options))
        context = copy_context()
        if options.timeout is None or self.limits is None:
            outcome = context.run(self._run, job, kwargs)
            if outcome.__class__ is Outcome:
                return self._end(job, outcome)
            self._spawn(self._go_on(job, outcome), context)
            return None
        return self._handle_in_time(job, kwargs, context, options.timeout, policy)

    def _handle_in_time(
        self, job: Job, kwargs: dict[str, Any], context: Context, seconds: float, policy: Policy
    ) -> Parked | None:
        """The same for a consumer whose time is limited."""
        assert self.limits is not None
        watch = self.limits.watch(seconds, describe(job.consumer), lambda: self._answer_late(job, policy))
        outcome = context.run(
            self.limits.run_soft, seconds, lambda: self._run(job, kwargs), lambda error: self._judge(error, job)
        )
        if outcome.__class__ is Outcome:
            watch.over()
            return self._end(job, outcome)
        watch.thread = None
        self._spawn(self._go_on_in_time(job, outcome, seconds, watch), context)
        return None

    def _spawn(self, rest: Coroutine[Any, Any, Parked | None], context: Context) -> None:
        assert self.spawn is not None  # else the coroutine was refused as a result
        self.spawn(rest, context)

    async def _go_on(self, job: Job, coroutine: Coroutine[Any, Any, Any]) -> Parked | None:
        """The rest of an `async def` consumer, and its end."""
        return self._end(job, await self._run_rest(job, coroutine))

    async def _go_on_in_time(self, job: Job, coroutine: Coroutine[Any, Any, Any], seconds: float, watch: Watch) -> Parked | None:
        outcome = await self._run_rest(job, coroutine, seconds)
        watch.over()
        return self._end(job, outcome)

    def _end(self, job: Job, outcome: Outcome) -> Parked | None:
        """What becomes of the message and of what its consumer sent."""
        layer, lease, message, pending = self.layer, job.lease, job.message, job.pending
        outbox = pending.close()
        if outcome is not Outcome.DONE:
            if outcome is Outcome.LATER and lease.attempts + 1 < MAX_TRIES:
                layer.requeue(lease, self.backoff(lease.attempts))
                self._finished(message)
                return None
            if outcome is Outcome.DENIED and _is_channel(job.reply):
                outbox.drop(job.reply)
                outbox.channel(job.reply, self._denial)
            else:
                if outcome is Outcome.LATER:
                    log.error(
                        "%s raised ConsumeLater %d times on %s; given up", describe(job.consumer), MAX_TRIES, _where(message)
                    )
                    job = job._replace(options=job.options._replace(discard_on_error=True))
                self._fail(job, outcome)
        parked = layer.commit(lease, outbox)
        if pending.elsewhere:
            self._send_elsewhere(pending)
        self._finished(message)
        return parked

    # --- the consumer's own context

    def _run(self, job: Job, kwargs: dict[str, Any]) -> Any:
        """Call the consumer: its outcome, or the coroutine that will have one."""
        current.set(job.pending)
        try:
            result = job.consumer(job.message, **kwargs)
            if result is not None:
                if self.spawn is not None and iscoroutine(result):
                    return result
                self._take_result(result, job)
        except BaseException as error:  # noqa: BLE001 - every one is judged
            return self._judge(error, job)
        return Outcome.DONE

    async def _run_rest(self, job: Job, coroutine: Coroutine[Any, Any, Any], seconds: float | None = None) -> Outcome:
        try:
            try:
                async with asyncio.timeout(seconds) as limit:
                    result = await coroutine
            except TimeoutError as error:
                if not limit.expired():
                    raise  # its own
                assert seconds is not None
                raise ConsumerTimeout(seconds) from error
            if result is not None:
                self._take_result(result, job)
        except BaseException as error:  # noqa: BLE001 - every one is judged
            return self._judge(error, job)
        return Outcome.DONE

    def _judge(self, error: BaseException, job: Job) -> Outcome:
        """What it means that the consumer raised this."""
        consumer, message = job.consumer, job.message
        if isinstance(error, ControlFlow):
            try:
                return self._grant(error, job.pending, consumer, message)
            except Exception:
                log.exception("%s raised %s on %s, which failed", describe(consumer), type(error).__name__, _where(message))
        elif isinstance(error, ConsumerTimeout):
            log.error("%s took longer than its %g s on %s", describe(consumer), error.seconds, _where(message), exc_info=error)
            return Outcome.LATE
        elif isinstance(error, Exception) and self._refuse(error, job):
            return Outcome.DONE
        elif isinstance(error, Exception):
            log.error("%s failed on a message on %s", describe(consumer), _where(message), exc_info=error)
        elif isinstance(error, SystemExit):
            # exit(), KeyboardInterrupt and their like end processes; a consumer's is not its own.
            log.error("%s called exit() on %s; that ends no worker: return instead", describe(consumer), _where(message))
        else:
            log.error("%s raised %s on %s", describe(consumer), type(error).__name__, _where(message), exc_info=error)
        return Outcome.FAILED

    def _refuse(self, error: Exception, job: Job) -> bool:
        """Whether a request was answered by what its consumer raised: a 400 for a form that lacks a field, ``abort(404)``."""
        reply = job.reply
        if job.lease.channel != "http.request" or not _is_channel(reply) or job.pending.answered(reply):
            return False
        response = refusal(error)
        if response is None:
            return False
        lacking = f" (there is no {error.args[0]!r})" if isinstance(error, KeyError) and error.args else ""
        log.warning("%s refused %s: %s%s", describe(job.consumer), _where(job.message), error, lacking)
        _discard(job)
        job.pending.outbox.channel(reply, self.layer.encode(response.message()))
        return True

    def _grant(self, wish: ControlFlow, pending: Pending, consumer: Consumer, message: Message) -> Outcome:
        """Do what a consumer asked for by raising; what was asked for in the wrong place is logged."""
        channel = message.channel_name
        if isinstance(wish, ConsumeLater):
            return Outcome.LATER
        if isinstance(wish, ResponseLater):
            return Outcome.DONE
        if isinstance(wish, DenyConnection):
            if channel == "websocket.connect" and message.reply_channel:
                return Outcome.DENIED
            log.error("%s raised DenyConnection on %s; only websocket.connect can be denied", describe(consumer), _where(message))
            return Outcome.DONE
        if isinstance(wish, RequestTimeout):
            if message.reply_channel is not None and not pending.answered(message.reply_channel.name):
                message.reply_channel.send(Response(b"Request Timeout", 408, [(b"content-type", b"text/plain")]).message())
            return Outcome.DONE
        if isinstance(wish, RequestAborted):
            log.info("%s: the client left in the middle of its request on %s", describe(consumer), _where(message))
            return Outcome.DONE
        if isinstance(wish, ChannelSocketException):
            wish.run(message)
            return Outcome.DONE
        raise wish

    def _take_result(self, result: Any, job: Job) -> None:
        if isinstance(result, Response):
            if job.message.reply_channel is None:
                raise ValueError(f"{describe(job.consumer)} returned a Response, but its message has no reply_channel")
            result.answer(job.message)
        elif isawaitable(result):
            if iscoroutine(result):
                result.close()
            raise TypeError(f"{describe(job.consumer)} returned {type(result).__name__!r}, which nobody awaits here; await it")
        elif isgenerator(result) or isasyncgen(result):
            raise TypeError(
                f"{describe(job.consumer)} has a `yield` in it, so that nothing of it ran; return a StreamingResponse"
            )
        elif isinstance(result, PLAIN) and job.lease.channel in self._failures[Outcome.FAILED]:
            self._warn_of_silence(result, job)

    def _warn_of_silence(self, result: Any, job: Job) -> None:
        """Say once of each consumer that its client waits, since what it returned goes nowhere."""
        if id(job.consumer) in self._silent or not _is_channel(job.reply) or job.pending.answered(job.reply):
            return
        self._silent.add(id(job.consumer))
        log.warning(
            "%s returned a %s on %s and sent its client nothing; what is returned is ignored, unless it is a "
            "shmchan.http.Response: return one, or send to message.reply_channel (this is said once)",
            describe(job.consumer),
            type(result).__name__,
            _where(job.message),
        )

    # --- how it ended

    def _fail(self, job: Job, outcome: Outcome) -> None:
        """Tell the client of a message that went wrong, unless it has its answer."""
        channel, reply, pending = job.lease.channel, job.reply, job.pending
        _discard(job)
        if not _is_channel(reply):
            return
        failure = self._failures.get(outcome, self._failures[Outcome.FAILED]).get(channel)
        if failure is not None:
            # A second status cuts off a response that has begun; one that is whole is not changed by it.
            if not pending.answered(reply) or (channel == "http.request" and pending.answered_at_once(reply)):
                pending.outbox.channel(reply, failure)
        elif job.options.on_error == "close" and channel == "websocket.receive":
            pending.outbox.channel(reply, self._closing)

    def _answer_late(self, job: Job, policy: Policy) -> None:
        """
        This process will be ended in a moment, because this consumer does not end: 504 instead of the reaper's 502.

        Only where the policy is to notify, and nothing was sent yet that the 504 would come after.
        """
        if policy != "notify" or not _is_channel(job.reply) or job.pending.answered_at_once(job.reply):
            return
        answer = self._failures[Outcome.LATE].get(job.lease.channel)
        if answer is None and job.lease.channel == "websocket.receive":
            answer = self._closing
        if answer is not None:
            outbox = Outbox()
            outbox.channel(job.reply, answer)
            self.layer.commit(job.lease, outbox)

    def _match(self, channel: str, message: Message) -> Found | None:
        try:
            found = self.router.find(channel, message)
        except Exception:
            log.exception("matching a message on %s failed; it is dropped", _where(message))
            return None
        if found is None:
            log.error("no route matches a message on %s; it is dropped", _where(message))
        return found

    def _send_elsewhere(self, pending: Pending) -> None:
        for layer, kind, name, payload in pending.elsewhere:
            try:
                if kind == "group":
                    layer.send_group(name, wire.decode(payload), payload.keep if isinstance(payload, Kept) else 0)
                else:
                    layer.send(name, wire.decode(payload))
            except ShmchanError as error:
                log.warning("a message to another layer is dropped: %s", error)

    def _finished(self, message: Message) -> None:
        if consumer_finished.receivers:
            consumer_finished.send(Handler, message=message)


def _nobody(message: Message) -> None:
    """The consumer of what no route matches."""


def _is_channel(name: object) -> TypeGuard[str]:
    try:
        names.check_channel(name)
    except TypeError:
        return False
    return True


def _discard(job: Job) -> None:
    """Its consumer raised: what that had sent is dropped, if the route wants that."""
    if job.options.discard_on_error:
        job.pending.outbox.clear()
        job.pending.elsewhere.clear()


def _where(message: Message) -> str:
    content = message.content if isinstance(message.content, dict) else {}
    path = content.get("path")
    reply = content.get("reply_channel")
    return f"{message.channel_name}{f' {path!r}' if isinstance(path, str) else ''}{f' of {reply}' if reply else ''}"
