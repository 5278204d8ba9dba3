"""
The setting ``SHMCHAN``, and what other settings of Django mean for shmchan.

Owns the names that the setting may have, and their defaults. Every process of a project runs it.
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

KINDS: dict[str, tuple[type, ...]] = {
    "NAME": (str,),
    "ROUTING": (str,),
    "WORKERS": (int,),
    "THREADS": (int,),
    "MEMORY": (str, int),
    "CAPACITY": (int,),
    "EXPIRY": (int, float),
}


@dataclass(frozen=True)
class Options:
    """
    The setting, checked. None leaves a value to its default.

    Attributes:
        name: of the instance; None: ``SHMCHAN_NAME``, else "default".
        routing: dotted path of the routing; None: there are only views.
        workers, threads: of ``runserver``.
        memory: bytes of the segment, or with a unit like "64MiB".
        capacity, expiry: as the options of ``shmchan run``.
    """

    name: str | None = None
    routing: str | None = None
    workers: int | None = None
    threads: int | None = None
    memory: str | int | None = None
    capacity: int | None = None
    expiry: float | None = None


def options() -> Options:
    """
    The setting ``SHMCHAN``.

    Raises:
        ImproperlyConfigured: it is no dict, has a key that is unknown, or a value of another type.
    """
    given: Any = getattr(settings, "SHMCHAN", {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"SHMCHAN is a dict with keys of {', '.join(KINDS)}, not {given!r}")
    for key, value in given.items():
        if key not in KINDS:
            raise ImproperlyConfigured(f"SHMCHAN has the key {key!r}; it may have {', '.join(KINDS)}")
        if not isinstance(value, KINDS[key]) or isinstance(value, bool):
            kinds = " or ".join(kind.__name__ for kind in KINDS[key])
            raise ImproperlyConfigured(f"SHMCHAN[{key!r}] is of type {kinds}, not {value!r}")
    return Options(**{key.lower(): value for key, value in given.items()})


def allowed_hosts() -> tuple[str, ...]:
    """Whose pages may open WebSockets: ALLOWED_HOSTS, and this machine's names where Django itself takes them for given."""
    if not settings.ALLOWED_HOSTS and settings.DEBUG:
        return (".localhost", "127.0.0.1", "[::1]")
    return tuple(settings.ALLOWED_HOSTS)


def root_path() -> str:
    """Where a proxy mounts the project."""
    return (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
