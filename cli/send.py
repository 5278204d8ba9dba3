"""
``shmchan send CHANNEL JSON``: a message from a shell or a script.

Owns the way from JSON to a message. Runs in a process of its own that attaches, sends and leaves.
"""

import json
import sys
from typing import Any

import click

from shmchan.cli.settings import option
from shmchan.exceptions import ConfigError


@click.command()
@click.argument("channel")
@click.argument("message", metavar="JSON")
@option("--name", default="default", help="Name of the instance.")
def send(channel: str, message: str, name: str) -> None:
    """Send the message JSON, an object, to CHANNEL of a running instance; - reads it from stdin.

    Exit code 2: it was not sent, and why.
    """
    content = parse_message(message)
    from shmchan.layers.shm import ShmChannelLayer

    with ShmChannelLayer.attach(name) as layer:
        try:
            layer.send(channel, content)
        except TypeError as error:
            raise ConfigError(str(error)) from error


def parse_message(text: str) -> dict[str, Any]:
    """
    The message that a person typed.

    Raises:
        ConfigError: it is no JSON object.
    """
    if text == "-":
        text = sys.stdin.read()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f'the message is no JSON: {error}; write it like \'{{"text": "hello"}}\'') from error
    if not isinstance(content, dict):
        raise ConfigError(f'a message is a JSON object, like \'{{"text": "hello"}}\', not {text[:100]}')
    return content
