"""
One run of an application, put together: segment, sockets, front, workers.

Owns the order in which they come and go: the segment first (a second run of the same name stops there), then the sockets, then
the children, and back. Never parses an option and never prints; the command line does both. The functions whose name ends in
``_main`` run in the child they are for, everything else in the supervisor.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shmchan.delay import absence
from shmchan.exceptions import ConfigError
from shmchan.front.config import FrontConfig
from shmchan.layers import wire
from shmchan.layers.base import FRONT_CHANNELS
from shmchan.layers.instance import is_left_over
from shmchan.layers.shm import ShmChannelLayer
from shmchan.routing import Router
from shmchan.state import state_folder
from shmchan.supervisor.child import Ready, Role
from shmchan.supervisor.listeners import Listeners
from shmchan.supervisor.supervisor import Supervisor

log = logging.getLogger("shmchan.supervisor")

FRONT_SHARE = 0.8
"""The part of the graceful time that the front may use; the rest is for the workers, who hear of its last disconnects."""

ENVELOPE = 1 << 17
"""Bytes that a message of the front may have besides what the client sent, which --ws-max-size limits."""


@dataclass(frozen=True)
class RunOptions:
    """
    What to serve and how. None leaves a value to the layer.

    Attributes:
        app: ``module[:attribute]``.
        workers: processes that run consumers.
        binds: ``HOST:PORT`` each.
        unix: path of a Unix socket.
        name: of the instance and its segment.
        memory: bytes of the segment.
        capacity: messages a channel holds.
        expiry: seconds a message waits at most.
        graceful_timeout: seconds that stopping may take.
        threads: plain consumers that each worker runs at once.
        async_limit: `async def` consumers that each worker runs at once.
        only, exclude: globs; the channels that the workers take messages of.
        user_loader: ``module:function``, for `shmchan.auth.set_user_loader`.
        delay: whether there is a delay process.
        delay_db: its heap; None is ``delay.db`` in `shmchan.state.state_folder`, with ``debug`` memory.
        app_dir: folder from which the application is imported.
        debug: whether all of it runs in one process.
        front: the front's own options.
    """

    app: str
    workers: int
    binds: tuple[str, ...] = ("127.0.0.1:8000",)
    unix: str | None = None
    name: str = "default"
    memory: int | None = None
    capacity: int | None = None
    expiry: float | None = None
    graceful_timeout: float = 10.0
    threads: int = 1
    async_limit: int = 500
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    user_loader: str | None = None
    delay: bool = True
    delay_db: Path | None = None
    app_dir: str = "."
    debug: bool = False
    front: FrontConfig = field(default_factory=FrontConfig)


@dataclass(frozen=True)
class Started:
    """What a run that has started tells: where it listens and how large its segment is (bytes)."""

    options: RunOptions
    urls: list[str]
    memory: int


def layer_options(options: RunOptions) -> dict[str, Any]:
    """What the layer of a run is made with; what is not given is the layer's to say."""
    given = {"memory": options.memory, "capacity": options.capacity, "expiry": options.expiry}
    # A WebSocket message has company in the layer's: its path and its keys.
    if options.front.ws_max_size + ENVELOPE > wire.LONGEST:
        given["max_message_size"] = options.front.ws_max_size + ENVELOPE
    return {key: value for key, value in given.items() if value is not None}


def serve(options: RunOptions, started: Callable[[Started], None]) -> int:
    """
    Serve until a signal ends it.

    Args:
        options: what and how.
        started: called once when every process is ready.

    Returns:
        0 when all ended by itself, 1 when a process had to be killed or the segment was damaged.

    Raises:
        ShmchanError: it cannot start: InstanceRunning, CannotListen, StartFailed, ...; nothing is left behind.
    """
    heap = delay_heap(options)
    if heap is not None and is_left_over(options.name):
        from shmchan.delay.process import settle_left_over

        settle_left_over(options.name, heap)
    try:
        layer = ShmChannelLayer.create(options.name, **layer_options(options))
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"cannot make the segment {options.name!r}: {error}") from error
    try:
        if heap is None:
            absence.declare(layer)
        memory = layer.global_statistics()["memory_total"]
        with Listeners(options.binds, options.unix) as listeners:
            supervisor = Supervisor(
                layer,
                roles(options, listeners),
                pending=lambda: still_to_do(layer),
                graceful_timeout=options.graceful_timeout,
                started=lambda: started(Started(options, listeners.urls, memory)),
                stopping=listeners.remove,  # from now on clients are refused; in our backlog they would wait for nobody
            )
            code = supervisor.run()
            if heap is None:
                absence.warn_of_rest(layer)
            else:
                from shmchan.delay.process import settle_rest

                settle_rest(layer, heap)
    finally:
        layer.reap()  # of those that were killed at the end; the last to leave then finds nobody and removes the segment
        layer.close()
    return code


def still_to_do(layer: ShmChannelLayer) -> int:
    """
    How many messages of the front the workers should still take before a run ends; asked when the front is gone.

    None, when all that is left was put back by its consumer (ConsumeLater) or stands behind such a message: nobody runs it, its
    client is gone, and its pause may be longer than the graceful time. It goes with the segment, which is said.
    """
    pending = sum(layer.channel_statistics(channel)["messages_pending"] for channel in FRONT_CHANNELS)
    if pending and layer.is_resting(FRONT_CHANNELS):
        log.warning(
            "%d message%s dropped: ConsumeLater put back what comes first among them, and a stop waits for no pause",
            pending,
            " is" if pending == 1 else "s are",
        )
        return 0
    return pending


def roles(options: RunOptions, listeners: Listeners) -> list[Role]:
    """The children of a run: one front, the delay process, then the workers, numbered from 1."""

    def worker_role(number: int) -> Role:
        return Role(f"worker {number}", lambda ready: worker_main(options, listeners, ready), instance=options.name)

    heap = delay_heap(options)
    delay = (
        []
        if heap is None
        else [Role("delay", lambda ready: delay_main(options, heap, listeners, ready), is_front=True, instance=options.name)]
    )
    front = Role("front", lambda ready: front_main(options, listeners.sockets, ready), is_front=True, instance=options.name)
    return [front, *delay, *(worker_role(number) for number in range(1, options.workers + 1))]


def front_main(options: RunOptions, sockets: list[socket.socket], ready: Ready) -> int:
    """The front's process. It has its own attachment, as the supervisor's is inert after the fork."""
    from shmchan.front import run_front

    with ShmChannelLayer.attach(options.name) as layer:
        return run_front(layer, sockets, options.front, ready=ready)


def delay_heap(options: RunOptions) -> Path | None:
    """Where the delay process keeps what waits; None if there is none."""
    if not options.delay:
        return None
    return (options.delay_db or state_folder(options.name) / "delay.db").absolute()


def delay_main(options: RunOptions, heap: Path, listeners: Listeners, ready: Ready) -> int:
    """The delay process. It stops before the workers: what they still send later waits in the segment, for `settle_rest`."""
    from shmchan.delay.process import run_delay

    listeners.close()
    with ShmChannelLayer.attach(options.name) as layer:
        return run_delay(layer, heap, ready)


def worker_main(options: RunOptions, listeners: Listeners, ready: Ready) -> int:
    """A worker's process: only here is the application imported, so that a new worker is new code."""
    from shmchan.worker import run_worker

    listeners.close()
    with ShmChannelLayer.attach(options.name) as layer:
        return run_worker(
            layer,
            load(options),
            only=options.only,
            exclude=options.exclude,
            threads=options.threads,
            async_limit=options.async_limit,
            ready=ready,
        )


def load(options: RunOptions) -> Router:
    """
    Import the application from its folder, before any other of its name, and tell it what the command line says.

    Raises:
        AppError: it, or the user loader, cannot be loaded.
    """
    from shmchan.auth import set_user_loader
    from shmchan.security.websockets import set_allowed_hosts
    from shmchan.worker import load_app

    folder = str(Path(options.app_dir).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    os.environ["SHMCHAN_NAME"] = options.name  # by which it finds what belongs to this instance, like its sessions
    router = load_app(options.app)
    if options.user_loader is not None:
        set_user_loader(options.user_loader)
    set_allowed_hosts(options.front.allowed_hosts)
    return router
