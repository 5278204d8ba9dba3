"""
A chat for people in rooms: ``shmchan run examples.chat``, then open http://127.0.0.1:8000/ in two windows.

`routing` says who gets what, `rooms` answers the WebSockets, `frames` checks what browsers send, `pages` serves ``page/``.
"""

from .routing import routing

__all__ = ["routing"]
