"""
What happens to one leased message.

Owns the way lease → match → policy → consumer → one commit, and what each way a consumer can end means. It never waits for
messages, and no consumer, whatever it does, makes it raise: only the layer's own faults come out of it. One for each thread of
a worker.
"""

import logging
from contextvars import copy_context
from enum import Enum
from inspect import iscoroutine
from typing import Any, TypeGuard

from shmchan import names
from shmchan.exceptions import (
    ChannelSocketException,
    ConsumeLater,
    ControlFlow,
    DenyConnection,
    RequestAborted,
    RequestTimeout,
    ResponseLater,
    ShmchanError,
)
from shmchan.http import TEXT, Response
from shmchan.layers import wire
from shmchan.layers.base import BaseChannelLayer, Lease, Parked, default_policy
from shmchan.message import Message
from shmchan.pending import Pending, current
from shmchan.routing import DEFAULTS, Consumer, Found, Options, Router, describe
from shmchan.signals import consumer_finished, consumer_started

MAX_TRIES = 10  # of a message whose consumer raises ConsumeLater
FIRST_BACKOFF = 0.05  # seconds, doubled with every try
LONGEST_BACKOFF = 5.0
log = logging.getLogger("shmchan.worker")


class Outcome(Enum):
    """How a consumer ended."""

    DONE = "returned, or asked for something that was done"
    LATER = "raised ConsumeLater"
    DENIED = "raised DenyConnection"
    FAILED = "raised what nobody caught"


class Handler:
    """
    Handles leased messages, one at a time.

    Args:
        layer: where they come from.
        router: who gets them.
    """

    def __init__(self, layer: BaseChannelLayer, router: Router) -> None:
        self.layer = layer
        self.router = router
        self._policies = {channel: default_policy(channel) for channel in router.channels}
        self._denial = layer.encode({"close": True})
        self._closing = layer.encode({"close": 1011})
        self._failures = {
            "http.request": layer.encode({"status": 500, "headers": TEXT, "content": b"Internal Server Error"}),
            "websocket.connect": layer.encode({"accept": False, "status": 500, "content": b"Internal Server Error"}),
        }

    def handle(self, lease: Lease) -> Parked | None:
        """
        Consume one message and commit it.

        Returns:
            What is owed because a target was full; None if everything is settled.
        """
        layer = self.layer
        channel = lease.channel
        reply = lease.content.get("reply_channel")  # now, since a consumer may do anything to its message
        message = Message(lease.content, channel, layer)
        pending = Pending(layer)
        found = self._match(channel, message)
        if found is None:
            self._fail(pending, channel, reply, DEFAULTS)
            return layer.commit(lease, pending.close())
        consumer, kwargs, options = found
        layer.set_policy(lease, options.on_crash or self._policies.get(channel) or default_policy(channel))
        if consumer_started.receivers:
            consumer_started.send(Handler, message=message)
        outcome = copy_context().run(self._run, pending, consumer, message, kwargs)
        outbox = pending.close()
        if outcome is not Outcome.DONE:
            if outcome is Outcome.LATER and lease.attempts + 1 < MAX_TRIES:
                layer.requeue(lease, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**lease.attempts))
                self._finished(message)
                return None
            if outcome is Outcome.DENIED and _is_channel(reply):
                pending.outbox.drop(reply)
                pending.outbox.channel(reply, self._denial)
            else:
                if outcome is Outcome.LATER:
                    log.error("%s raised ConsumeLater %d times on %s; given up", describe(consumer), MAX_TRIES, _where(message))
                    options = options._replace(discard_on_error=True)
                self._fail(pending, channel, reply, options)
        parked = layer.commit(lease, outbox)
        if pending.elsewhere:
            self._send_elsewhere(pending)
        self._finished(message)
        return parked

    # --- the consumer's own context

    def _run(self, pending: Pending, consumer: Consumer, message: Message, kwargs: dict[str, Any]) -> Outcome:
        current.set(pending)
        try:
            result = consumer(message, **kwargs)
            if result is not None:
                self._take_result(result, consumer, message)
        except ControlFlow as wish:
            try:
                return self._grant(wish, pending, consumer, message)
            except Exception:
                log.exception("%s raised %s on %s, which failed", describe(consumer), type(wish).__name__, _where(message))
                return Outcome.FAILED
        except Exception:
            log.exception("%s failed on a message on %s", describe(consumer), _where(message))
            return Outcome.FAILED
        except BaseException as error:
            # exit(), KeyboardInterrupt and their like end processes; a consumer's is not its own.
            if not isinstance(error, SystemExit):
                log.exception("%s raised %s on %s", describe(consumer), type(error).__name__, _where(message))
            else:
                log.error("%s called exit() on %s; that ends no worker: return instead", describe(consumer), _where(message))
            return Outcome.FAILED
        return Outcome.DONE

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

    def _take_result(self, result: Any, consumer: Consumer, message: Message) -> None:
        if isinstance(result, Response):
            if message.reply_channel is None:
                raise ValueError(f"{describe(consumer)} returned a Response, but its message has no reply_channel")
            message.reply_channel.send(result.message())
        elif iscoroutine(result):
            result.close()
            raise TypeError(f"{describe(consumer)} returned a coroutine, which nobody awaits; write it as a plain function")

    # --- how it ended

    def _fail(self, pending: Pending, channel: str, reply: object, options: Options) -> None:
        """Tell the client of a message that went wrong, unless it has its answer."""
        if options.discard_on_error:
            pending.outbox.clear()
            pending.elsewhere.clear()
        if not _is_channel(reply):
            return
        failure = self._failures.get(channel)
        if failure is not None:
            if not pending.answered(reply):
                pending.outbox.channel(reply, failure)
        elif options.on_error == "close" and channel == "websocket.receive":
            pending.outbox.channel(reply, self._closing)

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
                    layer.send_group(name, wire.decode(payload))
                else:
                    layer.send(name, wire.decode(payload))
            except ShmchanError as error:
                log.warning("a message to another layer is dropped: %s", error)

    def _finished(self, message: Message) -> None:
        if consumer_finished.receivers:
            consumer_finished.send(Handler, message=message)


def _is_channel(name: object) -> TypeGuard[str]:
    try:
        names.check_channel(name)
    except TypeError:
        return False
    return True


def _where(message: Message) -> str:
    content = message.content if isinstance(message.content, dict) else {}
    path = content.get("path")
    reply = content.get("reply_channel")
    return f"{message.channel_name}{f' {path!r}' if isinstance(path, str) else ''}{f' of {reply}' if reply else ''}"
