"""The command line: parse, call, print."""

from shmchan.cli.main import main

__all__ = ["main"]
