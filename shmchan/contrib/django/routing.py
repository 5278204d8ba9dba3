"""
The routing of a whole project: that of ``SHMCHAN["ROUTING"]``, and Django's views for all other requests.

Owns nothing else. Workers import it; ``shmchan run shmchan.contrib.django.routing`` serves a project in production, with
``DJANGO_SETTINGS_MODULE`` in the environment.
"""

from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.utils.module_loading import import_string

from shmchan.contrib.django import conf
from shmchan.http import WsgiConsumer
from shmchan.routing import Router

if not apps.ready:
    django.setup(set_prefix=False)


def make_routing(static: bool) -> Router:
    """
    A router for the project.

    Args:
        static: whether the files of django.contrib.staticfiles are served; fit for development only.

    Raises:
        ImproperlyConfigured: the setting names what is not there.
    """
    path = conf.options().routing
    try:
        routes: Any = [] if path is None else import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f'SHMCHAN["ROUTING"] is {path!r}, which cannot be imported: {error}') from error
    views: Any = WSGIHandler()
    if static and apps.is_installed("django.contrib.staticfiles"):
        from django.contrib.staticfiles.handlers import StaticFilesHandler

        views = StaticFilesHandler(views)
    router = routes if isinstance(routes, Router) else Router(routes)
    router.check_default(http_consumer=WsgiConsumer(views))
    return router


serve_static: bool = settings.DEBUG
"""Whether this process's workers serve static files; ``runserver`` says so before they are forked."""


def __getattr__(name: str) -> Any:
    """``routing`` is made when a worker asks for it."""
    if name == "routing":
        return make_routing(serve_static)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
