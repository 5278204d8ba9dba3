"""
Whether the C modules are those of the sources beside them.

Owns the comparison of their ages, which only a checkout has: what was installed from a wheel has no ``csrc/`` beside it. Never
builds anything and imports no C module. The command line asks before each command, since a module that is older than the Python
code around it fails somewhere in a worker, and would be restarted for ever.
"""

from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from shmchan.exceptions import ShmchanError

SOURCES = {"_core": "csrc", "_frames": "csrc/frames", "_exchange": "csrc/python"}
"""Each module, and the folder whose C files and headers it is made of; as setup.py has it."""

PACKAGE = Path(__file__).resolve().parent


class Outdated(ShmchanError):
    """
    The C modules of a checkout are not those of its sources.

    Attributes:
        reason: what is older than what.
        root: the folder of the checkout.
    """

    def __init__(self, reason: str, root: str) -> None:
        self.reason = reason
        self.root = root
        super().__init__(f"{reason}; run `make build` in {root} (or `pip install -e .` there)")

    def __reduce__(self) -> tuple[type["Outdated"], tuple[str, str]]:
        return type(self), (self.reason, self.root)


def check_built(package: Path = PACKAGE) -> None:
    """
    See that no C module is older than what it is made of. A few dozen stats in a checkout, one anywhere else.

    Args:
        package: the folder of shmchan.

    Raises:
        Outdated: one is.
    """
    root = package.parent
    if not (root / "csrc").is_dir():
        return
    for module, folder in SOURCES.items():
        built = next((path for suffix in EXTENSION_SUFFIXES if (path := package / (module + suffix)).exists()), None)
        if built is None:
            continue  # it comes from elsewhere; its import says so if it does not
        age = built.stat().st_mtime_ns
        for source in _sources(root / folder):
            if source.stat().st_mtime_ns > age:
                raise Outdated(f"the C module shmchan.{module} is older than {source.relative_to(root)}", str(root))


def _sources(folder: Path) -> Iterator[Path]:
    """The C files and headers of a folder, not of those in it."""
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix in (".c", ".h"))
