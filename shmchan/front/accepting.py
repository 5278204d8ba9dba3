"""
The front's listening sockets: who is accepted, and when nobody can be.

Owns the readers of these sockets, and what becomes of clients for whom no descriptor is left: they wait in the kernel's backlog
until others go, and whoever runs the server is told. Never reads a byte of a client. Runs in the front, on its loop's thread.

uvloop's own servers accept as well, and take less time for it: a connection with one request has 180 us of the front then, and
220 so. But when descriptors run out libuv accepts and closes at once, and tells nobody; so it is done here.
"""

import asyncio
import errno
import logging
import os
import resource
import socket
from collections.abc import Callable, Sequence

logger = logging.getLogger("shmchan.front")

BACKLOG = 2048
RESERVE = 32
"""Descriptors, at most, that connections leave for everything else: static files, bells of the segment, modules."""

RETRY_SECONDS = 0.1
WARN_SECONDS = 10.0
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """
    What accepts for one front, from `start` to `stop`.

    Args:
        loop: whose thread this runs on.
        sockets: bound; `stop` closes them.
        make: a protocol for each connection.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sockets: Sequence[socket.socket], make: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._make = make
        self._accepting = False
        self._limit = self._ceiling = 0
        self._retry: asyncio.TimerHandle | None = None
        self._warn_at = 0.0
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def busy(self) -> bool:
        """Whether somebody was accepted whose connection is not made yet."""
        return bool(self._tasks)

    def start(self) -> None:
        """Listen, and accept from now on."""
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # The kernel gives out the lowest number that is free, so a number says how many are taken. One client there always is.
        self._ceiling = max(self._limit - min(RESERVE, self._limit // 8), self._lowest_free() + 1)
        for listener in self._sockets:
            listener.setblocking(False)
            listener.listen(BACKLOG)
        self._accept_all()

    def stop(self) -> None:
        """Accept nobody any more. Clients are refused from now on, as in a backlog they would wait for nobody."""
        self._accept_none()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for listener in self._sockets:
            listener.close()

    def _accept_all(self) -> None:
        self._accepting = True
        for listener in self._sockets:
            self._loop.add_reader(listener, self._accept, listener)

    def _accept_none(self) -> None:
        if self._accepting:
            self._accepting = False
            for listener in self._sockets:
                self._loop.remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept one: those that are open have their turn before the next, and nobody is asked for in vain."""
        if not self._accepting:
            return
        try:
            client, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # Anything else is an error of the network that lay ready for the new connection: accept(2), "Error handling".
            if error.errno in EXHAUSTED:
                self._pause(error)
            else:
                logger.info("a connection ended before it was accepted: %s", error)
            return
        client.setblocking(False)
        task: asyncio.Task[object] = self._loop.create_task(self._loop.connect_accepted_socket(self._make, client))
        self._tasks.add(task)
        task.add_done_callback(self._made)
        if client.fileno() >= self._ceiling:
            self._pause(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))

    def _made(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.warning("an accepted connection cannot be served: %s", error)

    # When descriptors have run out ------------------------------------------------------------------------------------------

    def _pause(self, error: OSError) -> None:
        """Accept nobody until there may be room."""
        self._accept_none()
        self._retry = self._loop.call_later(RETRY_SECONDS, self._try_again)
        now = self._loop.time()
        if now >= self._warn_at:
            self._warn_at = now + WARN_SECONDS
            logger.warning("no more connections are accepted for now, clients wait until others go: %s", self._advice(error))

    def _advice(self, error: OSError) -> str:
        if error.errno == errno.EMFILE:
            return (
                f"this process may have {self._limit} files open, and each connection is one; raise that limit "
                "(ulimit -Hn, LimitNOFILE= of a systemd service)"
            )
        if error.errno == errno.ENFILE:
            return "this machine may have no more files open; raise sysctl fs.file-max"
        return f"{error.strerror}; this machine is short of memory"

    def _try_again(self) -> None:
        if self._lowest_free() < self._ceiling:
            self._retry = None
            self._accept_all()
        else:
            self._retry = self._loop.call_later(RETRY_SECONDS, self._try_again)

    def _lowest_free(self) -> int:
        """The number that the next descriptor will have; the limit, if there is none."""
        try:
            probe = os.dup(self._sockets[0].fileno())
        except OSError:
            return self._limit
        os.close(probe)
        return probe
