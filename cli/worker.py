"""
``shmchan worker APP``: one more worker for an instance that runs already, from another shell.

Owns when it leaves: when it is told to, or when nobody else is attached any more. Runs in the process that consumes.
"""

import logging
import sys
import time
from typing import Any

import click

from shmchan.cli.settings import LOG_FORMAT, consumer_options, option

ALONE_TICK = 1.0
"""Seconds between looks whether the instance is still there."""

log = logging.getLogger("shmchan.worker")


@click.command()
@click.argument("app", metavar="APP")
@option("--name", default="default", help="Name of the instance.")
@consumer_options
def worker(
    app: str,
    name: str,
    threads: int,
    async_limit: int,
    only_channels: tuple[str, ...],
    exclude_channels: tuple[str, ...],
    user_loader: str | None,
    allowed_hosts: tuple[str, ...],
    log_level: str,
    app_dir: str,
) -> int:
    """Join a running instance with one more worker for APP, which is MODULE or MODULE:ATTRIBUTE.

    It takes messages beside the instance's own workers, until SIGTERM or Ctrl-C, or until nobody else is attached any more.
    """
    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    from shmchan.front.config import FrontConfig
    from shmchan.layers.shm import ShmChannelLayer
    from shmchan.supervisor.serve import RunOptions, load
    from shmchan.worker import run_worker

    front = FrontConfig(allowed_hosts=allowed_hosts)
    options = RunOptions(app, 1, name=name, app_dir=app_dir, user_loader=user_loader, front=front)
    with ShmChannelLayer.attach(name) as layer:
        return run_worker(
            layer,
            load(options),
            only=only_channels,
            exclude=exclude_channels,
            threads=threads,
            async_limit=async_limit,
            stop=Alone(layer),
            ready=lambda: log.info("one more worker for %s, on instance %r", app, name),
        )


class Alone:
    """Whether nobody else is attached to a layer any more; looks rarely."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self._next = time.monotonic() + ALONE_TICK

    def __call__(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + ALONE_TICK
        if self.layer.global_statistics()["processes"] > 1:
            return False
        log.info("the instance %r has ended, and so does this worker", self.layer.name)
        return True
