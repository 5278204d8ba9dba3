"""
shmchan for Django projects (``pip install shmchan[django]``): put ``"shmchan.contrib.django"`` first into INSTALLED_APPS.

What a project uses: ``manage.py runserver``, ``runworker`` and ``rundelay``, the setting ``SHMCHAN``, `watching` for statements
that send no signals, and `login`. See docs/django.md.
"""

from typing import Any

__all__ = ["login", "watching"]


def __getattr__(name: str) -> Any:
    """Both names need settings, which are not there yet when Django imports this package."""
    if name == "watching":
        from shmchan.contrib.django.signals import watching

        return watching
    if name == "login":
        from shmchan.contrib.django.users import login

        return login
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
