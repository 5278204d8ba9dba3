"""
Every exception of shmchan: errors, rooted at :class:`ShmchanError`, and control flow that consumers raise, rooted at
:class:`ControlFlow`.

Owns their fields and texts, which end with what to do next. It never imports anything of shmchan, so that every process and
every module may import it.
"""

from typing import Any

__all__ = [
    "AppError",
    "AppNotFound",
    "ChannelFull",
    "ChannelSocketException",
    "ConfigError",
    "ConsumeLater",
    "ConsumerTimeout",
    "ControlFlow",
    "DelaySilent",
    "DenyConnection",
    "HeapBlocked",
    "HeapError",
    "InstanceKilled",
    "InstanceRunning",
    "LayerClosed",
    "MessageTooLarge",
    "NoDelay",
    "NoInstance",
    "RequestAborted",
    "RequestTimeout",
    "ResponseLater",
    "RoutingNotFound",
    "SegmentCorrupt",
    "SegmentVersion",
    "SendNotAvailableOnDemultiplexer",
    "ShmchanError",
    "WebsocketCloseException",
]


class ShmchanError(Exception):
    """The root of every error of shmchan."""


# --- the channel layer


class ChannelFull(ShmchanError):
    """
    A channel holds as many messages as it may, or the layer's memory is used up; nothing was sent.

    Attributes:
        channel: the full channel's name.
        capacity: how many messages it holds at most; None where it is the layer's memory that is full.
    """

    def __init__(self, channel: str, capacity: int | None = None) -> None:
        self.channel = channel
        self.capacity = capacity
        if capacity is None:
            text = f"no memory is left for a message to {channel!r}; try again later, or run with more --memory"
        else:
            text = f"channel {channel!r} is full ({capacity} messages); try again later, or raise its capacity"
        super().__init__(text)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.channel, self.capacity)


class MessageTooLarge(ShmchanError):
    """
    A message's encoding is longer than the layer carries; nothing was sent.

    Attributes:
        size: bytes that the message has.
        limit: bytes that a message may have.
        step: what to do about it.
        what: whose size it is, where it is not a message that is sent.
    """

    def __init__(self, size: int, limit: int, step: str = "send it in parts", what: str = "the message") -> None:
        self.size = size
        self.limit = limit
        self.step = step
        self.what = what
        super().__init__(f"{what} has {size} bytes, encoded, and at most {limit} are carried; {step}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.size, self.limit, self.step, self.what)


class LayerError(ShmchanError):
    """
    Something is wrong with one named layer.

    Attributes:
        name: the layer's name.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(text)


class NoInstance(LayerError):
    """There is no segment of this name to attach to."""

    def __init__(self, name: str, text: str | None = None) -> None:
        super().__init__(
            name,
            text
            or f"no shmchan instance named {name!r} is running for this user; start one (shmchan run APP --name {name}), "
            f"or name another (SHMCHAN_NAME)",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)


class InstanceKilled(NoInstance):
    """There is a segment of this name, but all its processes were killed: it is for the next run, and for the doctor."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            f"all processes of the shmchan instance {name!r} were killed; see what they left (shmchan doctor --name {name}), "
            f"or start it again (shmchan run APP --name {name})",
        )


class InstanceRunning(LayerError):
    """An instance of this name runs already."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"a shmchan instance named {name!r} is running already; stop it, or choose another name (--name)")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)


class LayerClosed(LayerError):
    """The layer was closed, or belongs to the parent of this process."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"the channel layer {name!r} is closed in this process; attach to it again")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)


class SegmentCorrupt(LayerError):
    """
    Shared memory failed validation; nobody works on it any further.

    Attributes:
        reason: what was found.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.reason = reason
        super().__init__(name, f"the segment {name!r} is damaged: {reason}; restart shmchan, which builds a new one")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.reason)


class SegmentVersion(LayerError):
    """
    The segment was made by another version of shmchan, or of the C library.

    Attributes:
        reason: what differs.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            name, f"the segment {name!r} was made by another version ({reason}); stop what runs on it, then start everything anew"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.reason)


class DelaySilent(LayerError):
    """The delay process of an instance did not answer."""

    def __init__(self, name: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            name,
            f"the delay process of {name!r} did not answer within {seconds:g} s; see whether it runs (not with --no-delay), "
            f"and what it logs",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.seconds)


class NoDelay(LayerError):
    """The instance runs without a delay process, so that nothing was sent or asked."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            f"{name!r} runs without a delay process (--no-delay), so nothing would keep what is to go out later; run it without "
            f"this option, or start a delay process beside it first (Django: manage.py rundelay)",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)


# --- the heap of the delay process


class HeapError(ShmchanError):
    """
    The file in which delayed messages wait cannot be used.

    Attributes:
        path: the file.
        reason: what is wrong.
        step: what to do.
    """

    def __init__(self, path: str, reason: str, step: str) -> None:
        self.path = path
        self.reason = reason
        self.step = step
        super().__init__(f"delayed messages in {path}: {reason}; {step}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason, self.step)


class HeapBlocked(HeapError):
    """It cannot be used at the moment: its disk is full, or somebody holds it locked. Nothing was changed."""


# --- what a process is started with


class ConfigError(ShmchanError):
    """An option has a value that it cannot have; the text names the option, the place it was set, and what is allowed."""


class AppError(ShmchanError):
    """The application could not be loaded; the text is one line for people."""


class AppNotFound(AppError):
    """The module or the attribute that was named does not exist."""


class RoutingNotFound(AppError):
    """What was found is no routing."""


class SendNotAvailableOnDemultiplexer(ShmchanError):
    """
    A demultiplexer was asked to send; a frame needs a stream, which only its consumers have.
    """

    def __init__(self, text: str = "a WebsocketDemultiplexer cannot send; use the multiplexer its consumers are given") -> None:
        super().__init__(text)


class ConsumerTimeout(ShmchanError):
    """
    Raised in a consumer whose route has a ``timeout``, when that is over. It may be caught to tidy up; a consumer that does not
    end soon after is ended together with its worker.

    Attributes:
        seconds: the timeout.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"the consumer's time of {seconds:g} s is over; give its route a longer timeout, or do less in it")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.seconds,)


# --- control flow: what a consumer raises to say how its message goes on


class ControlFlow(Exception):
    """The root of everything a consumer raises to tell its worker what to do; none of it is an error."""


class ConsumeLater(ControlFlow):
    """Put this message back to the head of its lane, or to the tail if it has none, and try again after a back-off."""


class ResponseLater(ControlFlow):
    """The answer will come from elsewhere; what was sent so far goes out."""


class RequestTimeout(ControlFlow):
    """The rest of a request's body did not come in time: 408, unless the request was answered."""


class RequestAborted(ControlFlow):
    """The client left in the middle of its request; nobody is there to be answered."""


class ChannelSocketException(ControlFlow):
    """What a subclass's :meth:`run` does to the message's socket is done when the consumer raises it."""

    def run(self, message: Any) -> None:
        """
        Do it: called by the worker, what it sends belongs to the consumer's own outbox.

        Args:
            message: the :class:`shmchan.message.Message` that was being consumed.
        """
        raise NotImplementedError(f"{type(self).__name__} must have a method run(message)")


class WebsocketCloseException(ChannelSocketException):
    """
    Close the WebSocket whose message this is.

    Args:
        code: None (the front's default, 1000), 1000, or 3000 to 4999.

    Raises:
        ValueError: another code, which RFC 6455 (7.4) does not leave to applications.
    """

    def __init__(self, code: int | None = None) -> None:
        allowed = code is None or (type(code) is int and (code == 1000 or 3000 <= code <= 4999))
        if not allowed:
            raise ValueError(f"a WebSocket is closed with code None, 1000 or 3000 to 4999, not {code!r}")
        self.code = code
        super().__init__(code)

    def run(self, message: Any) -> None:
        if message.reply_channel is None:
            raise ValueError(
                f"WebsocketCloseException was raised for a message on {message.channel.name!r}, which has no reply_channel"
            )
        message.reply_channel.send({"close": True if self.code is None else self.code})


class DenyConnection(ControlFlow):
    """Reject the handshake; only a consumer of websocket.connect raises it."""
