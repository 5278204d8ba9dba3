"""
``manage.py runserver``: the whole project, views and WebSockets, for development.

Owns its options, and the reload. What it starts is what ``shmchan run`` starts.
"""

import logging
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands.runserver import Command as DjangoCommand
from django.db import connections
from django.urls import get_resolver
from django.utils import autoreload

from shmchan.cli.settings import parse_size
from shmchan.contrib.django import conf, reload
from shmchan.exceptions import ShmchanError
from shmchan.front.config import FrontConfig
from shmchan.supervisor.serve import RunOptions, serve

GRACE = 2.0  # seconds; whoever develops wants it to be over


class Command(DjangoCommand):  # type: ignore[misc]  # Django has no types
    """Serve views, static files and WebSockets."""

    help = "Starts a server for development: views, static files and WebSockets, by shmchan."

    def add_arguments(self, parser: Any) -> None:
        """Django's own, and ours."""
        super().add_arguments(parser)
        parser.add_argument("--workers", type=int, help="Worker processes (default: SHMCHAN['WORKERS'], else 2).")
        parser.add_argument(
            "--http-timeout", type=float, default=60.0, help="Seconds until the first response message, then 503."
        )
        parser.add_argument("--name", help="Name of the instance (default: SHMCHAN_NAME, else SHMCHAN['NAME'], else default).")
        parser.add_argument(
            "--nostatic", action="store_false", dest="use_static_handler", help="Do not serve static files at STATIC_URL."
        )
        parser.add_argument(
            "--insecure", action="store_true", dest="insecure_serving", help="Serve static files also if DEBUG is False."
        )

    def run(self, **options: Any) -> None:
        """Begin; under reload this process only starts the one that serves."""
        if options["use_reloader"] and not reload.is_watched():
            sys.exit(reload.start_again_and_again(sys.argv))
        _log_to_stderr()
        watch = reload.Watch(_stop_this_process) if options["use_reloader"] else None

        def leave(number: int, frame: FrameType | None) -> None:
            """Told to stop while nothing is served, by a person or by the watch."""
            sys.exit(reload.AGAIN if watch is not None and watch.has_changed else 0)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leave)
        try:
            autoreload.raise_last_exception()
            code = autoreload.check_errors(self.serve_project)(**options)  # which has broken files watched, too
        except Exception as error:
            if watch is None:
                raise
            if isinstance(error, CommandError):
                self.stderr.write(str(error))
            else:
                traceback.print_exc()
            self.stderr.write("Waiting for a change.")
            watch.wait()
            code = 0
        if watch is not None and watch.has_changed:
            code = reload.AGAIN
        if code:
            sys.exit(code)

    def serve_project(self, **options: Any) -> int:
        """Check the project, then serve it. Returns the exit code. Raises CommandError: it cannot start."""
        from shmchan.contrib.django import routing

        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        routing.serve_static = options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"])
        # What is wrong with either is told here, and their files are watched.
        routing.make_routing(routing.serve_static)
        get_resolver().url_patterns  # noqa: B018 - imports them
        connections.close_all()  # of this process: none may be shared with its children
        try:
            return serve(self.run_options(**options), self.announce)
        except ShmchanError as error:
            raise CommandError(str(error)) from error

    def run_options(self, **options: Any) -> RunOptions:
        """What ``shmchan run`` would have been given. Raises CommandError: the setting has an impossible value."""
        own = conf.options()
        memory = parse_size(str(own.memory)) if own.memory is not None else None
        if own.memory is not None and memory is None:
            raise CommandError(f'SHMCHAN["MEMORY"] is {own.memory!r}, which is no size; write bytes or a unit, like "256MiB"')
        host = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        workers = options["workers"] or own.workers or 2
        threads = own.threads or 1
        if not options["use_threading"]:
            workers = threads = 1
        name = options["name"] or os.environ.get("SHMCHAN_NAME", "default")
        try:
            return RunOptions(
                app="shmchan.contrib.django.routing",
                workers=workers,
                threads=threads,
                binds=(f"{host}:{self.port}",),
                name=name,
                memory=memory,
                capacity=own.capacity,
                expiry=own.expiry,
                graceful_timeout=GRACE,
                app_dir=os.getcwd(),
                front=FrontConfig(
                    http_timeout=options["http_timeout"],
                    root_path=conf.root_path(),
                    allowed_hosts=conf.allowed_hosts(),
                    graceful_timeout=GRACE,
                ),
            )
        except ValueError as error:
            raise CommandError(str(error)) from error

    def announce(self, started: Any) -> None:
        """Say where it is."""
        self.stdout.write(
            f"Django {self.get_version()}, settings {os.environ.get('DJANGO_SETTINGS_MODULE')!r}, by shmchan: "
            f"{started.options.workers} worker(s), instance {started.options.name!r}\n"
            f"Starting development server at {started.urls[0]}{conf.root_path()}/\n"
            f"Quit the server with CONTROL-C.\n"
        )
        self.stdout.flush()


def _log_to_stderr() -> None:
    """Show requests and what goes wrong, unless LOGGING says what becomes of it."""
    log = logging.getLogger("shmchan")
    if not log.hasHandlers():
        logging.basicConfig(format="[%(asctime)s] %(message)s", datefmt="%d/%b/%Y %H:%M:%S", stream=sys.stderr)
        log.setLevel(logging.INFO)


def _stop_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
