"""
The body of a request, as a file: what came with the request, then what the front sends after it.

Owns the reading of one body channel. That is all the back-pressure there is: while nobody reads here the channel fills, and the
front leaves the client's socket unread. Workers run it, in the thread of the consumer.
"""

import io
from typing import Any

from shmchan.exceptions import RequestAborted, RequestTimeout
from shmchan.message import Message

BODY_TIMEOUT = 60.0


class RawBody(io.RawIOBase):
    """
    One body. It is wrapped in an `io.BufferedReader` by `open_body`, which has the other ways to read.

    Args:
        message: an ``http.request``.
        timeout: seconds that the client may be silent.

    Attributes:
        failure: what reading has raised, and raises from then on.

    Raises:
        RequestAborted: on reading: the client has left.
        RequestTimeout: on reading: it was silent for too long.
    """

    def __init__(self, message: Message, timeout: float = BODY_TIMEOUT) -> None:
        self.timeout = timeout
        self.failure: RequestAborted | RequestTimeout | None = None
        self._layer = message.channel_layer
        self._channel: str | None = message.get("body_channel")
        self._used = self._channel
        self._piece = memoryview(message.get("body") or b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._piece and self._channel is not None:
            self._take(self.timeout)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def discard(self) -> None:
        """Take what lies in the channel, for whoever will not read it: it would lie there until it expires."""
        self._piece = memoryview(b"")
        while self._channel is not None and self.failure is None and self._take(0.0):
            self._piece = memoryview(b"")
        if self._layer is not None and self._used is not None:
            self._layer.forget(self._used)

    def _take(self, timeout: float) -> bool:
        """Take the next piece. Returns whether there was one; that there was none is an error where a time was waited for."""
        if self.failure is not None:
            raise self.failure
        if self._layer is None:
            raise ValueError("the rest of this body is on a channel, and its message does not know of which layer")
        _, content = self._layer.receive([self._channel or ""], block=timeout > 0, timeout=timeout)
        if content is None:
            if timeout > 0:
                self.failure = RequestTimeout(f"nothing of the request's body came for {timeout:g} s")
                raise self.failure
            return False
        if content.get("closed"):
            self.failure = RequestAborted("the client left before its body was whole")
            if timeout > 0:
                raise self.failure
            return False
        self._piece = memoryview(content.get("content") or b"")
        if not content.get("more_content"):
            self._channel = None
        return True


def open_body(message: Message, timeout: float = BODY_TIMEOUT) -> tuple[io.BufferedReader, RawBody]:
    """The body of an ``http.request`` to read from, and what is below it."""
    raw = RawBody(message, timeout)
    return io.BufferedReader(raw, 64 << 10), raw
