"""
The ``shmchan`` command: which subcommands there are, and how an error looks to a person.

Owns the exit codes (0 done, 1 something failed while running, 2 something a person has to mend) and the one line that stands for
an error. A subcommand's module is imported when it is called, so that none pays for the imports of another.
"""

import importlib
import sys
from collections.abc import Sequence

import click

from shmchan.built import check_built
from shmchan.cli.settings import project_settings
from shmchan.exceptions import ShmchanError
from shmchan.version import installed_version

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

COMMANDS = {
    "bench": "shmchan.cli.bench:bench",
    "delay": "shmchan.cli.delay:delay",
    "doctor": "shmchan.cli.doctor:doctor",
    "group": "shmchan.cli.group:group",
    "run": "shmchan.cli.run:run",
    "send": "shmchan.cli.send:send",
    "stats": "shmchan.cli.stats:stats",
    "worker": "shmchan.cli.worker:worker",
}
"""Each command's module and the click command in it."""

SUMMARIES = {
    "bench": "Measure this machine.",
    "delay": "What waits to go out later: list, cancel, purge, stats.",
    "doctor": "Check a segment, also one that killed processes left.",
    "group": "Look into a group of a running instance, or change it.",
    "run": "Serve an application.",
    "send": "Send a message to a channel of a running instance.",
    "stats": "Show what a running instance does.",
    "worker": "Join a running instance with one more worker.",
}
"""For the list of commands, which thereby imports none of them."""


class LazyGroup(click.Group):
    """The group of `COMMANDS`; imports only what is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        check_built()
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in self.list_commands(ctx)])


def show_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    """Print the version and leave, if that is what was asked."""
    if wanted:
        click.echo(f"shmchan {installed_version()}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version, help="Show the version and exit."
)
@click.pass_context
def shmchan(context: click.Context) -> None:
    """Realtime web applications on one host: WebSockets, channels and groups through shared memory.

    Each option is taken from the command line, else from the environment (SHMCHAN_NAME for --name), else from
    [tool.shmchan] in pyproject.toml.
    """
    if context.invoked_subcommand == "run":  # only `run` has options that a project fixes; the others follow its --name
        context.default_map = {"run": project_settings()}
    elif context.invoked_subcommand is not None and "name" in (settings := project_settings()):
        context.default_map = {context.invoked_subcommand: {"name": settings["name"]}}


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        arguments: those after the program's name; None takes them from the process.

    Returns:
        The exit code. Whatever a person has to mend has been said in one line on stderr.
    """
    try:
        result = shmchan.main(args=arguments, prog_name="shmchan", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return EXIT_USAGE
    except click.UsageError as error:
        hint = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        return fail(error.format_message().rstrip(".") + hint)
    except click.ClickException as error:
        return fail(error.format_message())
    except ShmchanError as error:
        return fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `shmchan stats | head`; nothing may be flushed to it on the way out either
        sys.stdout = None
        return 1
    return result if isinstance(result, int) else 0


def fail(text: str) -> int:
    """Say in one line what is wrong; returns the exit code for it."""
    click.echo("shmchan: " + " ".join(text.split()), err=True)
    return EXIT_USAGE
