"""
``shmchan run APP``: the options of a run, its banner and its logging.

Owns what a person types and sees. Everything that happens in between is `shmchan.supervisor.serve`. Runs in the supervisor.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from shmchan.cli.settings import (
    LOG_FORMAT,
    POSITIVE,
    SECONDS,
    SIZE,
    check_project_settings,
    consumer_options,
    each_folder,
    format_size,
    option,
    unknown_variables,
)
from shmchan.exceptions import ConfigError
from shmchan.version import installed_version

AT_A_BREAKPOINT = 3600.0
"""Seconds that a client of a run that is debugged waits, where no option says otherwise."""

FRONT_OPTIONS = (
    "http_timeout",
    "handshake_timeout",
    "websocket_timeout",
    "ping_timeout",
    "ws_max_size",
    "max_body_size",
    "root_path",
    "access_log",
    "allowed_hosts",
    "static",
    "js_path",
)
"""Options whose name is that of the field of `FrontConfig` that they fill; None leaves it at its default."""

RUN_OPTIONS = (
    "workers",
    "unix",
    "name",
    "memory",
    "capacity",
    "expiry",
    "graceful_timeout",
    "threads",
    "async_limit",
    "user_loader",
    "delay_db",
    "app_dir",
)
"""Those whose name is that of the field of `RunOptions`."""


def available_cores() -> int:
    """Cores that this process may run on, which in a container are not all the machine has."""
    return len(os.sched_getaffinity(0))


@click.command()
@click.argument("app", metavar="[APP]", envvar="SHMCHAN_APP")
@option(
    "--workers", type=click.IntRange(1, 512), metavar="N", default=available_cores, show_default="cores", help="Worker processes."
)
@option("--bind", multiple=True, metavar="HOST:PORT", default=["127.0.0.1:8000"], help="Where to listen; may be repeated.")
@option("--unix", type=click.Path(), help="Listen on this Unix socket; on TCP only if --bind is given.")
@option("--name", default="default", help="Name of the instance, by which other processes attach to it.")
@option("--memory", type=SIZE, help="Size of the segment.  [default: 256MiB]")
@option("--capacity", type=click.IntRange(1), metavar="N", help="Messages that a channel holds.  [default: 100]")
@option("--expiry", type=POSITIVE, help="Seconds after which an unread message is dropped.  [default: 60]")
@option("--http-timeout", type=POSITIVE, default=60.0, help="Seconds until the first response message, then 503.")
@option("--handshake-timeout", type=POSITIVE, default=5.0, help="Seconds until a WebSocket is accepted, then 504.")
@option("--websocket-timeout", type=POSITIVE, help="Seconds that a WebSocket may last.  [default: 86400]")
@option("--ping-interval", type=SECONDS, default=20.0, help="Seconds between pings, 0 for none.")
@option("--ping-timeout", type=POSITIVE, default=30.0, help="Seconds that a pong may take.")
@option("--ws-protocol", multiple=True, help="A subprotocol to agree on where the application names none; may be repeated.")
@option("--ws-max-size", type=SIZE, default="1MiB", help="Longest WebSocket message; from 16MiB on of any other, too.")
@option("--max-body-size", type=SIZE, help="Longest request body.  [default: 1GiB]")
@option("--root-path", default="", help="Path where a proxy mounts the application.")
@option(
    "--static",
    multiple=True,
    metavar="URL=FOLDER",
    callback=each_folder,
    help="Serve the files of a folder, like /static=public; may be repeated.",
)
@option("--js-path", metavar="URL", help="Serve shmchan.js there, like /shmchan.js.  [default: nowhere]")
@option("--access-log/--no-access-log", default=True, help="Log every request and WebSocket.")
@option("--graceful-timeout", type=SECONDS, default=10.0, help="Seconds that stopping may take.")
@option(
    "--delay-db",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where delayed messages wait.  [default: $XDG_STATE_HOME/shmchan/NAME/delay.db, of root below /var/lib]",
)
@option("--no-delay", is_flag=True, help="No process for delayed messages.")
@option("--nothreading", is_flag=True, help="One worker with one thread.")
@option("--debug", is_flag=True, help="Everything in this one process, in memory; breakpoint() works in consumers.")
@consumer_options
@click.pass_context
def run(context: click.Context, /, app: str, log_level: str, nothreading: bool, debug: bool, **given: Any) -> int:
    """Serve APP, which is MODULE or MODULE:ATTRIBUTE (default: routing, then channel_routing). It is a routing, or a WSGI
    application (default: application, then app).

    APP may be left out where SHMCHAN_APP or `app` of [tool.shmchan] in pyproject.toml names it.

    SIGTERM or Ctrl-C finishes what runs, closes WebSockets with 1012 and leaves nothing behind; a second one stops at once.
    """
    check_project_settings(context)
    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    for sentence in unknown_variables(context.command, os.environ):
        logging.getLogger("shmchan.supervisor").warning(sentence)
    from shmchan.front.config import FrontConfig
    from shmchan.supervisor.serve import FRONT_SHARE, RunOptions, serve

    if nothreading:
        given["workers"] = only_one(context, "workers", "--nothreading")
        given["threads"] = only_one(context, "threads", "--nothreading")
    if debug:
        given["workers"] = only_one(context, "workers", "--debug")
        given["threads"] = only_one(context, "threads", "--debug")
        for name in ("http_timeout", "handshake_timeout"):
            if context.get_parameter_source(name) is ParameterSource.DEFAULT:
                given[name] = AT_A_BREAKPOINT
    only_unix = given["unix"] and context.get_parameter_source("bind") is ParameterSource.DEFAULT
    try:
        front = FrontConfig(
            ping_interval=given["ping_interval"] or None,
            ws_protocols=tuple(given["ws_protocol"]),
            graceful_timeout=given["graceful_timeout"] * FRONT_SHARE,
            **{name: given[name] for name in FRONT_OPTIONS if given[name] is not None},
        )
        options = RunOptions(
            app=app,
            binds=() if only_unix else given["bind"],
            front=front,
            only=tuple(given["only_channels"]),
            exclude=tuple(given["exclude_channels"]),
            debug=debug,
            delay=not given["no_delay"],
            **{name: given[name] for name in RUN_OPTIONS},
        )
    except ValueError as error:
        raise ConfigError(named_as_option(str(error))) from error
    from shmchan.supervisor.debug import serve_in_one_process

    begin = serve_in_one_process if debug else serve
    return begin(options, lambda started: announce(banner(started, colour=sys.stderr.isatty())))


def named_as_option(text: str) -> str:
    """What is wrong with a field of `FrontConfig`, said of the option: the text begins with its name."""
    name, _, rest = text.partition(" ")
    return f"--{name.replace('_', '-')} {rest}" if name in FRONT_OPTIONS else text


def only_one(context: click.Context, name: str, flag: str) -> int:
    """
    1, for an option that a flag sets.

    Raises:
        ConfigError: the command line gives it, too, and something else.
    """
    if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and context.params[name] != 1:
        raise ConfigError(f"--{name} {context.params[name]} and {flag}, which means one, contradict each other; leave one out")
    return 1


def announce(text: str) -> None:
    """Write the banner in one piece, so that no line of a log comes in between."""
    sys.stderr.write(text)
    sys.stderr.flush()


def banner(started: Any, colour: bool) -> str:
    """
    Where a run listens and what it consists of.

    Args:
        started: a `shmchan.supervisor.serve.Started`.
        colour: whether a terminal shows it.
    """
    options = started.options
    workers = f"{options.workers} worker{'' if options.workers == 1 else 's'}, segment {options.name!r}"
    if options.debug:
        workers = "everything in this process, memory"
    lines = [f"shmchan {installed_version()} serves {options.app}"]
    lines += [f"  at    {click.style(url, bold=True) if colour else url}" for url in started.urls]
    lines += [f"  with  {workers} of {format_size(started.memory)}", "  stop  with Ctrl-C or SIGTERM"]
    return "\n".join(lines) + "\n"
