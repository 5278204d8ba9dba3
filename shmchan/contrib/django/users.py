"""
Django's users in consumers.

Owns the user loader and the login. Passwords and permissions are Django's. Workers run it.
"""

from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, get_backends, get_user_model
from django.core.exceptions import ValidationError

from shmchan import auth
from shmchan.sessions.session import Session


def load_user(user_id: Any) -> Any:
    """The user of this id, as the first of AUTHENTICATION_BACKENDS knows it; inactive ones are for backends to refuse."""
    try:
        key = get_user_model()._meta.pk.to_python(user_id)
    except ValidationError:
        return None
    return next((user for backend in get_backends() if (user := backend.get_user(key)) is not None), None)


def login(session: Session, user: Any, backend: str | None = None) -> None:
    """
    Note in a session who its user is, so that Django's views see it, too.

    Args:
        session: an http_session or a channel_session.
        user: a user of Django.
        backend: path of the backend that has checked who it is; by default ``user.backend``, or the only one.

    Raises:
        ValueError: there are several backends, and none is named.
    """
    path = backend or getattr(user, "backend", None)
    if path is None:
        known = get_backends()
        if len(known) != 1:
            raise ValueError("there are several AUTHENTICATION_BACKENDS; give login() the path of the one that knows the user")
        path = f"{type(known[0]).__module__}.{type(known[0]).__qualname__}"
    session[BACKEND_SESSION_KEY] = path
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    auth.login(session, user._meta.pk.value_to_string(user))
