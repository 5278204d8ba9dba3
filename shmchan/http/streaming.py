"""
Responses that go out piece by piece, while they are made.

Owns the back-pressure between a worker and the front: few pieces are under way to a client at a time, and whoever makes them
waits for room. So the memory of both stays as it is, however long the response and however slow the client. Never keeps a piece
that was sent. Workers run it, in the thread of the consumer.

Each piece names a channel of ours. The front tells us on it when nobody takes the rest: because the client left, or took nothing
for too long. That is where we wait for room, too, so that we hear it at once. A front that has died is seen by sending to it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from shmchan.exceptions import ChannelFull, RequestAborted
from shmchan.http.response import Headers, Response
from shmchan.message import Message
from shmchan.pending import current

PIECE = 64 << 10  # bytes of one message
WINDOW = 16  # messages that are under way to one client
SMALL, SMALL_WINDOW = PIECE // 4, 64  # the same of messages up to this length, of which the front takes so many at once
LOOK_EVERY, LOOK_SECONDS = 8, 0.05  # messages and time, after which to look whether anybody is there; most streams are short
FIRST_WAIT, LONGEST_WAIT = 0.0002, 0.05  # seconds between two looks whether there is room

when_full: ContextVar[Callable[[str], None] | None] = ContextVar("when_full", default=None)
"""
Called instead of waiting for room, with the reply channel; there is room when it returns. For clients that are in the thread of
the consumer, as a test's are: nobody else would take what they have not taken.
"""


class ResponseStream:
    """
    The response to one request: `begin`, then `send`, and `end`; `close` in any case.

    Args:
        message: the ``http.request``, with its reply channel.

    Attributes:
        begun: whether a piece went out, so that status and headers are the client's.

    Raises:
        RequestAborted: from each of its methods: the client left, and so did whoever would take more.
    """

    def __init__(self, message: Message) -> None:
        if message.reply_channel is None:
            raise ValueError(f"a message on {message.channel_name} has no reply_channel to stream a response to")
        self._reply_channel = message.reply_channel.name
        self._layer = message.reply_channel.channel_layer
        self._closed_channel = self._layer.new_channel("http.response.closed?")
        self._over = False
        self._sent = 0
        self._looked = time.monotonic()
        self.begun = False

    def begin(self, status: int, headers: list[list[bytes]], content: bytes = b"") -> None:
        """Send status and headers, and what there is of the content."""
        self._put({"status": status, "headers": headers, "content": content[:PIECE], "more_content": True})
        if len(content) > PIECE:
            self.send(content[PIECE:])

    def send(self, content: bytes) -> None:
        """Send more of the content; returns when there is room for it."""
        if not content:
            self.look()
        for start in range(0, len(content), PIECE):
            self._put({"content": content[start : start + PIECE], "more_content": True})

    def look(self) -> None:
        """See whether anybody is there, if that was not seen lately: who has nothing to send may wait for something for ever."""
        if self.begun and time.monotonic() - self._looked > LOOK_SECONDS:
            self._listen(0.0)

    def end(self) -> None:
        """Nothing more comes."""
        self._put({"content": b"", "more_content": False})

    def close(self) -> None:
        """Let go of what it took to listen; after the end, or instead of one."""
        self._layer.forget(self._closed_channel)

    def _put(self, message: dict[str, Any]) -> None:
        payload = self._layer.encode({**message, "closed_channel": self._closed_channel})
        window = WINDOW if len(payload) > SMALL else SMALL_WINDOW
        wait = 0.0
        self._sent += 1
        if self._over or self._sent % LOOK_EVERY == 0 or time.monotonic() - self._looked > LOOK_SECONDS:
            self._listen(0.0)
        while True:
            if wait:
                self._listen(wait)
            try:
                taken = self._layer.send_encoded(self._reply_channel, payload, capacity=window)
            except ChannelFull:
                make_room = when_full.get()
                if make_room is not None:
                    make_room(self._reply_channel)
                    continue
                wait = min(max(FIRST_WAIT, 2 * wait), LONGEST_WAIT)
                continue
            if not taken:
                self._over = True
                raise RequestAborted("the front died that had the client's connection")
            break
        if not self.begun:
            self.begun = True
            pending = current.get()
            if pending is not None:
                pending.note(self._reply_channel)

    def _listen(self, seconds: float) -> None:
        """Wait so long, and raise what was heard."""
        if not self._over:
            self._looked = time.monotonic()
            channel, _ = self._layer.receive([self._closed_channel], block=seconds > 0, timeout=seconds)
            self._over = channel is not None
        if self._over:
            raise RequestAborted("the client left before the response was whole")


class StreamingResponse(Response):
    """
    A response whose content is made while it is sent. A plain consumer returns it; what else that sends goes out after it.

    Args:
        pieces: of the content, bytes or str (sent as UTF-8), each sent as soon as it is there. A ``close()`` of theirs is called
            at the end, also when the client leaves in the middle.
        status: its status code.
        headers: as of a Response. With a content-length it is sent as such, else in chunks.
    """

    def __init__(self, pieces: Iterable[bytes | str], status: int = 200, headers: Headers = ()) -> None:
        if isinstance(pieces, (bytes, str)):
            raise TypeError("the pieces of a StreamingResponse are an iterable of bytes or str; for one piece take a Response")
        super().__init__(b"", status, headers)
        self.pieces = pieces

    def message(self) -> dict[str, Any]:
        raise TypeError("a StreamingResponse is no single message; return it from the consumer, or call its answer(message)")

    def answer(self, message: Message) -> None:
        """
        Send it, piece by piece, and return when all of it is under way.

        Raises:
            RequestAborted: the client left.
            TypeError: it was called on an event loop, which would stand still meanwhile.
            Exception: whatever the pieces raise; the client sees that its response is not whole.
        """
        try:
            if _on_a_loop():
                raise TypeError(
                    "a StreamingResponse waits for its client, which `async def` consumers must not; write a plain one"
                )
            with contextlib.closing(ResponseStream(message)) as stream:
                stream.begin(self.status, self.headers)
                for piece in self.pieces:
                    stream.send(piece.encode() if isinstance(piece, str) else piece)
                stream.end()
        finally:
            close = getattr(self.pieces, "close", None)
            if close is not None:
                close()


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
