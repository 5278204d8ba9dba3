"""
``manage.py runworker``: one more worker for an instance that runs already.

Owns its options; the worker is that of ``shmchan worker``.
"""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from shmchan.contrib.django import conf
from shmchan.exceptions import ShmchanError


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Join a running instance."""

    help = "Joins a running instance with one more worker, until SIGTERM, Ctrl-C, or the instance's end."

    def add_arguments(self, parser: Any) -> None:
        """Which instance, and which of its messages."""
        parser.add_argument("--name", help="Name of the instance (default: SHMCHAN_NAME, else SHMCHAN['NAME'], else default).")
        parser.add_argument("--threads", type=int, help="Plain consumers it runs at once (default: SHMCHAN['THREADS'], else 1).")
        parser.add_argument("--only-channels", action="append", default=[], metavar="GLOB", help="May be repeated.")
        parser.add_argument("--exclude-channels", action="append", default=[], metavar="GLOB", help="May be repeated.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Consume."""
        from shmchan.cli.worker import Alone
        from shmchan.contrib.django import routing
        from shmchan.layers.shm import ShmChannelLayer
        from shmchan.worker import run_worker

        own = conf.options()
        name = options["name"] or os.environ.get("SHMCHAN_NAME", "default")
        os.environ["SHMCHAN_NAME"] = name
        connections.close_all()
        try:
            with ShmChannelLayer.attach(name) as layer:
                run_worker(
                    layer,
                    routing.make_routing(routing.serve_static),
                    only=options["only_channels"],
                    exclude=options["exclude_channels"],
                    threads=options["threads"] or own.threads or 1,
                    stop=Alone(layer),
                    ready=lambda: self.stdout.write(f"One more worker on instance {name!r}."),
                )
        except (ShmchanError, ValueError) as error:
            raise CommandError(str(error)) from error
