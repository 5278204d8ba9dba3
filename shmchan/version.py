"""
Which version of shmchan this is.

Owns no number: that of the installed package is read from its metadata, where pyproject.toml put it. Every process may run it;
it imports nothing until somebody asks, since what reads metadata takes long to import.
"""

UNKNOWN = "0+unknown"
"""Of a bare checkout, which was never installed; a version as any other, below all of them (PEP 440)."""


def installed_version() -> str:
    """The version of the installed package, else UNKNOWN."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("shmchan")
    except PackageNotFoundError:
        return UNKNOWN
