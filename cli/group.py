"""
``shmchan group NAME``: a group's members, and what is sent to them, from a shell.

Owns which actions there are. Runs in a process of its own that attaches, acts and leaves.
"""

import click

from shmchan.cli.send import parse_message
from shmchan.cli.settings import option
from shmchan.exceptions import ConfigError

ACTIONS = {"add": "CHANNEL", "discard": "CHANNEL", "send": "JSON", "list": None}
"""Each action, and what it is about."""


@click.command()
@click.argument("group", metavar="NAME")
@click.argument("action", type=click.Choice(list(ACTIONS)), default="list")
@click.argument("subject", metavar="[CHANNEL|JSON]", required=False)
@option("--name", default="default", help="Name of the instance.")
def group(group: str, action: str, subject: str | None, name: str) -> None:
    """List the channels in the group NAME of a running instance, or: add CHANNEL, discard CHANNEL, send JSON."""
    if (subject is None) != (ACTIONS[action] is None):
        wanted = f"`shmchan group {group} {action}{f' {ACTIONS[action]}' if ACTIONS[action] else ''}`"
        raise ConfigError(f"{action} takes {'one' if ACTIONS[action] else 'no'} argument: {wanted}")
    from shmchan.layers.shm import ShmChannelLayer

    with ShmChannelLayer.attach(name) as layer:
        try:
            if action == "list":
                channels = sorted(layer.group_channels(group))
                for channel in channels:
                    click.echo(channel)
                if not channels:
                    click.echo(f"nobody is in the group {group}", err=True)
            elif action == "add":
                layer.group_add(group, str(subject))
            elif action == "discard":
                layer.group_discard(group, str(subject))
            else:
                layer.send_group(group, parse_message(str(subject)))
        except TypeError as error:
            raise ConfigError(str(error)) from error
