"""
A chat with logins, rooms and permissions: ``shmchan run examples.multichat``, then open http://127.0.0.1:8000/ in two browsers.

It is the multichat that came with Channels 1.x, written anew. `app` says who gets what, `pages` answers HTTP (login, logout,
the page), `streams` answers the WebSocket, `rooms` knows who may enter where, `users` knows the passwords. What it keeps, users
and sessions, is in the instance's state folder, see `users.state_folder`.
"""

from typing import Any

__all__ = ["routing"]


def __getattr__(name: str) -> Any:
    """The routing, for the worker that asks for it; as it changes settings of the process, nothing else is to import it."""
    if name == "routing":
        from .app import routing

        return routing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
