"""
The front's process: listening sockets, signals, and the way from the first connection to the last.

Owns the event loop. Never sees a byte of a client. Called by the supervisor in the process it forked for the front.
"""

import asyncio
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable
from email.utils import formatdate

import uvloop

from shmchan.exceptions import LayerError
from shmchan.front.accepting import Acceptor
from shmchan.front.bridge import Bridge
from shmchan.front.config import FrontConfig
from shmchan.front.connection import Connection
from shmchan.front.static import StaticFiles
from shmchan.js import scripts
from shmchan.layers.base import BaseChannelLayer
from shmchan.protocol.http import HTTPLimits

logger = logging.getLogger("shmchan.front")


class Front:
    """
    One front. Make it, ``run`` it; ``stop`` ends it from within its loop, ``stop_threadsafe`` from elsewhere.

    Args:
        layer: attached in this process.
        sockets: bound and listening, or at least bound; they are closed in the end.
        config: the options.

    Attributes:
        stopping: whether it takes nothing new any more.
        static: what it serves by itself.
    """

    def __init__(self, layer: BaseChannelLayer, sockets: list[socket.socket], config: FrontConfig) -> None:
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self.config = config
        self.stopping = False
        self.limits = HTTPLimits(
            body=config.max_body_size,
            head_timeout=config.head_timeout,
            keep_alive_timeout=config.keep_alive_timeout,
            body_timeout=config.body_timeout,
        )
        self.static = StaticFiles(config.root_path, config.static, scripts(config.js_path))
        self._acceptor = Acceptor(self.loop, sockets, lambda: Connection(self))
        self._exit_code = 0
        self._finished = self.loop.create_future()
        self._stop_timer: asyncio.TimerHandle | None = None
        self._date = b""
        self._date_until = 0.0
        self.bridge = Bridge(layer, self.loop, config, self._failed)
        self.loop.set_exception_handler(self._unexpected)

    def run(self, ready: Callable[[], None]) -> int:
        """Serve until stopped. ``ready`` is called in the loop, when connections are accepted. Returns the exit code."""
        try:
            self.loop.run_until_complete(self._serve(ready))
            counts = self.bridge.counters.snapshot()
            logger.info(
                "front ends; %s", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "it served nobody"
            )
        finally:
            self.bridge.close()
            self._acceptor.stop()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()
        return self._exit_code

    def date(self) -> bytes:
        """The value of the Date header, made once a second."""
        now = self.loop.time()
        if now >= self._date_until:
            self._date = formatdate(time.time(), usegmt=True).encode()
            self._date_until = now + 1.0
        return self._date

    def stop(self) -> None:
        """Stop accepting, finish what runs, close WebSockets with 1012. Called again: cut off who is left."""
        if self.stopping:
            self._cut_off()
            return
        self.stopping = True
        self._acceptor.stop()
        self._stop_timer = self.loop.call_later(self.config.graceful_timeout, self._cut_off)
        for connection in [*self.bridge.connections]:
            connection.shut_down()
        self._look_for_put_back()
        self._look_for_end()

    def stop_threadsafe(self) -> None:
        """As `stop`, from any thread."""
        self.loop.call_soon_threadsafe(self.stop)

    def connection_gone(self) -> None:
        """A connection was lost; it may have been the last."""
        if self.stopping:
            self.loop.call_soon(self._look_for_end)

    # ------------------------------------------------------------------------------------------------------------------------

    async def _serve(self, ready: Callable[[], None]) -> None:
        self._acceptor.start()
        await asyncio.sleep(0)  # a turn of the loop, after which every descriptor is really watched
        ready()
        await self._finished

    def _look_for_end(self) -> None:
        if self._finished.done():
            return
        if self.bridge.connections or self.bridge.busy or self._acceptor.busy:
            if not self.bridge.connections:
                self.loop.call_later(self.config.tick, self._look_for_end)
            return
        if self._stop_timer is not None:
            self._stop_timer.cancel()
        self._finished.set_result(None)

    def _look_for_put_back(self) -> None:
        """
        Answer 503 when all whose answer is awaited were put back by their consumers (ConsumeLater): nobody runs them, and their
        pauses may be longer than this front has. While some may be promised from elsewhere, their number tells: all wait.
        """
        if self._finished.done():
            return
        try:
            if self.bridge.layer.is_resting(["http.request"]):
                put_back = self.bridge.layer.channel_statistics("http.request")["messages_pending"]
                waiting = [connection for connection in self.bridge.connections if connection.is_waiting]
                if len(waiting) == put_back:
                    for connection in waiting:
                        connection.refuse_put_back()
        except LayerError as error:
            self.bridge.fail(error)
            return
        self.loop.call_later(self.config.tick, self._look_for_put_back)

    def _cut_off(self) -> None:
        if self._finished.done():
            return
        left = len(self.bridge.connections)
        if left:
            logger.warning("%d connections were not done within %g s and are cut off", left, self.config.graceful_timeout)
            self.bridge.counters.add("cut.stopping", left)
        for connection in [*self.bridge.connections]:
            connection.abort()
        self.loop.call_later(self.config.tick, self._give_up)

    def _give_up(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)

    def _failed(self, error: BaseException) -> None:
        """The layer is of no use any more. The supervisor starts another front, if that makes sense."""
        if self._exit_code == 0:
            logger.critical("the front ends: %s", error, exc_info=error)
        self._exit_code = 1
        self.stopping = True
        self._cut_off()

    def _unexpected(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Something raised in a callback. uvloop closes that one connection, the others go on."""
        error = context.get("exception")
        if isinstance(error, ConnectionError):
            return  # the client's end of the socket is gone; connection_lost tells whom it concerns
        logger.error(
            "%s; this is a bug in shmchan, please report it",
            context.get("message"),
            exc_info=error if isinstance(error, BaseException) else None,
        )
        self.bridge.counters.add("errors")


def run_front(layer: BaseChannelLayer, sockets: list[socket.socket], config: FrontConfig, *, ready: Callable[[], None]) -> int:
    """
    Serve until SIGTERM or SIGINT, and then for as long as what runs needs, at most ``config.graceful_timeout``.

    Args:
        layer: attached in this process.
        sockets: bound by the supervisor.
        config: the options.
        ready: called once, when connections are accepted.

    Returns:
        the exit code: 0, or 1 when the layer failed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # one descriptor per client; the usual 1024 are soon used up
    front = Front(layer, sockets, config)

    def stop() -> None:
        """Only once: systemd tells every process of a service, and then the supervisor tells us too. To hurry it has SIGKILL."""
        if not front.stopping:
            front.stop()

    def begin() -> None:
        """In the loop, which loses a signal that it handles and that comes while it does not run. Until then one just ends us."""
        for number in (signal.SIGTERM, signal.SIGINT):
            front.loop.add_signal_handler(number, stop)
        ready()

    return front.run(begin)
