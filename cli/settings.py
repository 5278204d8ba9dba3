"""
What the options of the command line have in common: sizes, durations, and where a value may come from.

Owns the reading of ``[tool.shmchan]`` in pyproject.toml and the parameter types. Click gives the command line precedence over
the environment, and the environment over what `project_settings` found.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from shmchan.exceptions import ConfigError

REPEATABLE = {"allowed_hosts", "bind", "exclude_channels", "only_channels", "static", "ws_protocol"}
"""Options that a project may give as a list, or as one string."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}

OTHER_VARIABLES = {
    "SHMCHAN_NAME",
    "SHMCHAN_SECRET",
    # of the tests of shmchan itself
    "SHMCHAN_AUTOBAHN_MESSAGES",
    "SHMCHAN_FUZZ_FOLDER",
    "SHMCHAN_FUZZ_SEED",
    "SHMCHAN_SANITIZE",
    "SHMCHAN_SEED",
    "SHMCHAN_TSAN_SECONDS",
}
"""Variables of the environment that something reads, although they are no options of `shmchan run`, or not only."""


def parse_size(text: str) -> int | None:
    """Bytes of ``268435456``, ``256MiB``, ``256M`` (10^6), ``1.5 GiB``; None if it is no size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?)?b?\s*", text, re.IGNORECASE | re.ASCII)
    if found is None:
        return None
    return int(float(found[1]) * UNITS[(found[2] or "").lower()])


def format_size(size: float) -> str:
    """``256 MiB``, ``1.5 GiB``, ``120 B``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


class Size(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes, with or without a unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        size = parse_size(str(value))
        if size is None:
            self.fail(
                f"{value!r} is no size; write bytes, or a number with k, M, G (10^3, 10^6, 10^9), KiB, MiB or GiB, like 256MiB",
                param,
                ctx,
            )
        return size


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """
    A time.

    Args:
        zero: whether 0 is one, too.
    """

    name = "seconds"

    def __init__(self, zero: bool) -> None:
        self.zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not (math.isfinite(seconds) and (seconds > 0 or (self.zero and seconds == 0))):
            self.fail(f"{value!r} is no time; write seconds, {'0 or ' if self.zero else ''}more than 0", param, ctx)
        return seconds


LOG_FORMAT = "%(asctime)s %(levelname)-8s %(name)s [%(process)d] %(message)s"
LOG_LEVELS = click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False)

SIZE = Size()
SECONDS = Seconds(zero=True)
POSITIVE = Seconds(zero=False)


def option(flag: str, **attributes: Any) -> Callable[[Any], Any]:
    """A click option that is also taken from ``SHMCHAN_`` and its name."""
    name = flag.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(flag, envvar=f"SHMCHAN_{name}", show_default=attributes.pop("show_default", True), **attributes)


def each_host(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """The names of hosts that an option has, which is repeated or given once with commas. An Origin's port does not count."""
    hosts = tuple(value.strip() for text in given for value in text.split(",") if value.strip())
    for host in hosts:
        if "/" in host or re.search(r"^[^:]*:\d*$|\]:", host):
            name = re.sub(r"^.*://|[/?#].*$", "", host)
            name = re.sub(r":\d*$", "", name) or "example.org"
            text = f"{host!r} is no name of a host; write {name}, without scheme, port and path"
            raise click.BadParameter(text, context, parameter)
    return hosts


def each_folder(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """URL and absolute folder of each ``URL=FOLDER``, of which the folder has to be there."""
    pairs = []
    for text in given:
        url, equals, folder = text.partition("=")
        if not equals or not folder:
            raise click.BadParameter(f"{text!r} has no folder; write URL=FOLDER, like /static=public", context, parameter)
        if not Path(folder).is_dir():
            raise click.BadParameter(f"there is no folder {folder!r} for {url}; create it, or name another", context, parameter)
        pairs.append((url.rstrip("/") or "/" if url.startswith("/") else url, str(Path(folder).absolute())))
    return tuple(pairs)


def consumer_options(command: Any) -> Any:
    """The options of whatever runs consumers: how many at once, and of which channels."""
    for add in reversed(
        (
            option(
                "--threads", type=click.IntRange(1, 512), metavar="N", default=1, help="Plain consumers a worker runs at once."
            ),
            option(
                "--async-limit", type=click.IntRange(1), metavar="N", default=500, help="Async consumers a worker runs at once."
            ),
            option("--only-channels", multiple=True, metavar="GLOB", help="Take only messages of these; may be repeated."),
            option("--exclude-channels", multiple=True, metavar="GLOB", help="Take no messages of these; may be repeated."),
            option("--user-loader", metavar="MODULE:FUNCTION", help="Finds users: function(user_id) -> user or None."),
            option(
                "--allowed-hosts",
                multiple=True,
                metavar="HOST",
                callback=each_host,
                help="Whose pages may open WebSockets, .example.org for all below it, * for any; may be repeated.  "
                "[default: the request's own Host]",
            ),
            option("--log-level", type=LOG_LEVELS, default="info", help="The least that is logged."),
            option(
                "--app-dir", type=click.Path(exists=True, file_okay=False), default=".", help="Folder that APP is imported from."
            ),
        )
    ):
        command = add(command)
    return command


def find_project(start: Path) -> Path | None:
    """The nearest pyproject.toml, from a folder upwards."""
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            return path
    return None


def project_settings() -> dict[str, Any]:
    """
    The table ``[tool.shmchan]`` of the nearest pyproject.toml, with ``_`` for each ``-``; empty if there is none.

    Raises:
        ConfigError: the file or the table is malformed.
    """
    path = find_project(Path.cwd())
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("shmchan", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"[tool.shmchan] in {path} is no table; write [tool.shmchan] on a line of its own, options below it")
    settings = {key.replace("-", "_"): value for key, value in table.items()}
    for key in REPEATABLE & settings.keys():
        if isinstance(settings[key], str):
            settings[key] = [settings[key]]
    return settings


def check_project_settings(context: click.Context) -> None:
    """
    Refuse settings of the project that this command does not have, since a misspelt one would silently do nothing.

    Raises:
        ConfigError: the first of them, by name.
    """
    known = {parameter.name for parameter in context.command.params}
    for key in context.default_map or {}:
        if key not in known:
            raise ConfigError(
                f"[tool.shmchan] in pyproject.toml has {key!r}, which is no option of `{context.command_path}`; remove it"
            )


def unknown_variables(command: click.Command, environment: Iterable[str]) -> list[str]:
    """
    A sentence for each variable of the environment that is named like a setting and is none, since it does nothing.

    Args:
        command: whose options are settings.
        environment: names of variables.
    """
    known = OTHER_VARIABLES | {str(parameter.envvar) for parameter in command.params if parameter.envvar}
    sentences = []
    for name in sorted(set(environment) - known):
        if name.startswith("SHMCHAN_"):
            near = difflib.get_close_matches(name, known, 1)
            sentences.append(
                f"{name} of the environment is ignored: there is no such setting{f'; {near[0]} is one' if near else ''}"
            )
    return sentences
