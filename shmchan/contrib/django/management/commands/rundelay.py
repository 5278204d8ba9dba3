"""
``manage.py rundelay``: the delay process of an instance that runs without one (``shmchan run --no-delay``).

Owns its options; the process is that of `shmchan.delay`.
"""

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from shmchan.exceptions import ShmchanError


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Keep messages until they are due."""

    help = "Sends delayed messages of a running instance that has no delay process of its own, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: Any) -> None:
        """Which instance, and where what waits is kept."""
        parser.add_argument("--name", help="Name of the instance (default: SHMCHAN_NAME, else SHMCHAN['NAME'], else default).")
        parser.add_argument("--delay-db", type=Path, metavar="PATH", help="The SQLite file (default: beside the instance's own).")

    def handle(self, *args: Any, **options: Any) -> None:
        """Wait and send."""
        from shmchan.delay.process import run_delay
        from shmchan.layers.shm import ShmChannelLayer
        from shmchan.state import state_folder

        name = options["name"] or os.environ.get("SHMCHAN_NAME", "default")
        path = options["delay_db"] or state_folder(name) / "delay.db"
        try:
            with ShmChannelLayer.attach(name) as layer:
                run_delay(layer, path.absolute(), lambda: self.stdout.write(f"Delayed messages of {name!r} wait in {path}."))
        except ShmchanError as error:
            raise CommandError(str(error)) from error
