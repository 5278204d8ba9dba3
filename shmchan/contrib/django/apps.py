"""
The Django app: what happens when a project starts, in each of its processes.

Owns the order: the instance's name, sessions and users, then bindings, whose modules (``bindings`` in each app) are imported so
that any process of the project, a cron job as well, tells of the rows it changes.
"""

import os
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import Warning as CheckWarning
from django.core.checks import register
from django.db import close_old_connections
from django.utils.module_loading import autodiscover_modules

from shmchan.auth import set_user_loader
from shmchan.contrib.django import conf
from shmchan.contrib.django.sessions import DjangoEngine
from shmchan.contrib.django.signals import connect_all
from shmchan.security.websockets import set_allowed_hosts
from shmchan.sessions.store import use_sessions
from shmchan.signals import consumer_finished, consumer_started


class ShmchanConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """``"shmchan.contrib.django"`` in INSTALLED_APPS."""

    name = "shmchan.contrib.django"
    label = "shmchan"
    verbose_name = "shmchan"

    def ready(self) -> None:
        """Connect both sides."""
        options = conf.options()
        if options.name is not None:
            os.environ.setdefault("SHMCHAN_NAME", options.name)
        if apps.is_installed("django.contrib.sessions"):
            use_sessions(DjangoEngine(), cookie_name=settings.SESSION_COOKIE_NAME)
        if apps.is_installed("django.contrib.auth"):
            from django.contrib.auth.models import AnonymousUser

            from shmchan.contrib.django.users import load_user

            set_user_loader(load_user, AnonymousUser)
        set_allowed_hosts(conf.allowed_hosts())
        consumer_started.connect(_close_old_connections)
        consumer_finished.connect(_close_old_connections)
        register(_check_order)
        connect_all()
        autodiscover_modules("bindings")


def _close_old_connections(**given: Any) -> None:
    """As Django does around each request of its own: connections that broke, or are older than CONN_MAX_AGE."""
    close_old_connections()


def _check_order(app_configs: Any, **given: Any) -> list[Any]:
    """Of two apps with a command ``runserver`` the first one's is run."""
    names = [config.name for config in apps.get_app_configs()]
    own, static = "shmchan.contrib.django", "django.contrib.staticfiles"
    if own in names and static in names and names.index(static) < names.index(own):
        return [
            CheckWarning(
                f"runserver is that of {static}, without WebSockets.",
                hint=f'Put "{own}" before "{static}" in INSTALLED_APPS.',
                id="shmchan.W001",
            )
        ]
    return []
