"""
`WsgiConsumer`: a WSGI application as a consumer of ``http.request``.

Owns PEP 3333: the calls between a server and an application, and when what goes out. A response that is there as one piece goes
out with everything else that its consumer sent, when that is over; every other one goes out piece by piece, while the application
makes it. Workers run it, each request in one thread from its beginning to its end.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, BinaryIO

from shmchan.exceptions import RequestAborted
from shmchan.http.body import BODY_TIMEOUT, RawBody, open_body
from shmchan.http.environ import make_environ
from shmchan.http.response import Response, checked_headers
from shmchan.http.streaming import PIECE, ResponseStream
from shmchan.message import Message

NO_CONTENT = (204, 304)
LONGEST_WHOLE = 1 << 20  # bytes of a response that goes out as one message
log = logging.getLogger("shmchan.worker")
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
WsgiApp = Callable[..., Iterable[bytes]]


class WsgiConsumer:
    """
    Runs a WSGI application, like those of Flask and Django: ``route("http.request", WsgiConsumer(app))``.

    The named groups of the route are in ``environ["wsgiorg.routing_args"]``, the message in ``environ["shmchan.message"]``. What
    the application sends to channels and groups goes out with its response, or after a streamed one.

    Args:
        app: the application.
        body_timeout: seconds that a client may be silent in its body.

    Raises:
        TypeError: app cannot be called.
    """

    def __init__(self, app: WsgiApp, *, body_timeout: float = BODY_TIMEOUT) -> None:
        if not callable(app):
            raise TypeError(f"a WSGI application is a callable, not {app!r}")
        self.app = app
        self.body_timeout = body_timeout

    def __call__(self, message: Message, **groups: Any) -> None:
        """
        Answer one request.

        Raises:
            RequestAborted: the client left; the application's iterable was closed.
            Exception: whatever the application raised. The client gets 500; if its response had begun, it is cut off.
        """
        body, raw = open_body(message, self.body_timeout)
        environ = make_environ(message.content, body)
        environ["wsgi.file_wrapper"] = FileWrapper
        environ["wsgiorg.routing_args"] = ((), groups)
        environ["shmchan.message"] = message
        try:
            _Answer(message, raw).run(self.app, environ)
        finally:
            raw.discard()

    def __repr__(self) -> str:
        module, name = getattr(self.app, "__module__", None), getattr(self.app, "__qualname__", None)
        return f"WsgiConsumer({module}.{name})" if name else f"WsgiConsumer({self.app!r})"


class FileWrapper:
    """
    A file as an iterable. Frameworks ask for blocks of 4 or 8 KiB, for sockets of their own; here a piece is the better block.

    Args:
        file: has ``read``, and perhaps ``close``.
        block_size: bytes, at least.
    """

    def __init__(self, file: BinaryIO, block_size: int = PIECE) -> None:
        self.file = file
        self.block_size = max(block_size, PIECE)
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = self.file.read(self.block_size)
        if not data:
            raise StopIteration
        return data


class _Answer:
    """One call of an application, and what it answers: nothing yet, a whole response that waits for the end, or a stream."""

    def __init__(self, message: Message, body: RawBody) -> None:
        self.message = message
        self.body = body
        self.stream = ResponseStream(message)
        self.status = 0
        self.headers: list[list[bytes]] = []
        self.whole = False
        self.written = False

    def run(self, app: WsgiApp, environ: dict[str, Any]) -> None:
        with contextlib.closing(self.stream):
            result = app(environ, self.start_response)
            try:
                self._send_result(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()

    # --- what the application calls

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info is not None:
            try:
                if self.whole or self.stream.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it would keep the frames that it passed through
        elif self.status:
            raise RuntimeError("start_response was called twice; to answer with an error instead, give it exc_info")
        if not isinstance(status, str) or not status[:3].isdecimal() or status[3:4] not in ("", " "):
            raise TypeError(f"a WSGI status is a str like '200 OK', not {status!r}")
        self.headers = checked_headers(headers)
        self.status = int(status[:3])
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333, "The write() Callable": for those who have no iterable."""
        if self.whole:
            raise RuntimeError("write() was called after a piece that was as long as the content-length says")
        if self._check(data):
            self.written = True
            if not self._is_silent():
                self._send(data)

    # --- what it returned

    def _send_result(self, result: Iterable[bytes]) -> None:
        only = isinstance(result, Sized) and len(result) == 1 and not self.written
        left_out = 0
        for data in result:
            if not self._check(data):
                self.stream.look()
                continue
            if only and not self._started and self._length() is None:
                self.headers.append([b"content-length", b"%d" % len(data)])
            if self._is_silent():
                break
            if self.whole:
                left_out += len(data)
            elif not self._started and self._length() == len(data) <= LONGEST_WHOLE:
                self._send_whole(data)
            else:
                self._send(data)
        if left_out:
            log.warning("%s: %d bytes exceed the content-length and are left out", self.message["path"], left_out)
        if self.stream.begun:
            self.stream.end()
        elif not self.whole:
            self._send_nothing()

    @property
    def _started(self) -> bool:
        return self.whole or self.stream.begun

    def _check(self, data: bytes) -> bool:
        """Whether there is anything in it."""
        if not isinstance(data, bytes):
            raise TypeError(f"a WSGI application gives bytes, not {type(data).__name__}; encode it")
        if data and not self.status:
            raise RuntimeError("the application gave data before it called start_response")
        return bool(data)

    def _is_silent(self) -> bool:
        return self.message["method"] == "HEAD" or self.status in NO_CONTENT

    def _length(self) -> int | None:
        """What the application says of the length of its content."""
        for name, value in self.headers:
            if name.lower() == b"content-length" and value.isdigit():
                return int(value)
        return None

    def _send(self, data: bytes) -> None:
        if self.stream.begun:
            self.stream.send(data)
        else:
            self._check_body()
            self.stream.begin(self.status, self.headers, data)

    def _send_whole(self, data: bytes) -> None:
        self._check_body()
        Response(data, self.status, self.headers).answer(self.message)
        self.whole = True

    def _send_nothing(self) -> None:
        if not self.status:
            raise RuntimeError("the application did not call start_response")
        if self._length() and not self._is_silent():
            self._check_body()
            self.stream.begin(self.status, self.headers)  # all of it is missing: the client sees that, as of any other part
            self.stream.end()
        else:
            self._send_whole(b"")

    def _check_body(self) -> None:
        """
        Nobody is there to be answered when the client left in its body. That it was too slow is a 408, where the application made
        an error of its own of what its reading raised.
        """
        failure = self.body.failure
        if failure is not None and (isinstance(failure, RequestAborted) or self.status >= 500):
            raise failure
