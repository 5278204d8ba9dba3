"""
Origin checks as decorators of connect consumers, for applications whose pages are stricter than the front.

Owns what is done with an Origin that does not please: the handshake is denied. The front has refused pages that are not of
``--allowed-hosts`` before, but lets clients pass that send no Origin; these do not. Workers and test clients run it.
"""

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from shmchan.exceptions import DenyConnection
from shmchan.message import Message
from shmchan.security.origin import origin_allowed

log = logging.getLogger("shmchan.worker")
_allowed_hosts: tuple[str, ...] = ()


def set_allowed_hosts(hosts: Sequence[str]) -> None:
    """
    Say whose pages `allowed_hosts_only` lets connect; a worker takes them from ``--allowed-hosts``.

    Args:
        hosts: names, ``.example.org`` for it and all below it, ``*`` for any; empty: the name in Host.
    """
    global _allowed_hosts
    _allowed_hosts = tuple(hosts)


class BaseOriginValidator(ABC):
    """
    A decorator that denies handshakes by their Origin; a subclass says which.

    A missing Origin, several of them, and one that is no ASCII are denied without asking. Messages of other channels than
    ``websocket.connect`` pass.

    Args:
        func: the consumer.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        functools.update_wrapper(self, func)
        self.func = func

    def __call__(self, message: Message, *args: Any, **kwargs: Any) -> Any:
        if message.channel_name == "websocket.connect":
            origin = self.get_origin(message)
            if origin is None or not self.validate_origin(message, origin):
                log.warning("a handshake for %r is denied for its Origin: %r", message.get("path"), origin)
                raise DenyConnection
        return self.func(message, *args, **kwargs)

    def get_origin(self, message: Message) -> str | None:
        """The Origin of a handshake; None if there is not exactly one, of ASCII."""
        origins = [value for name, value in message.get("headers", ()) if name == b"origin"]
        if len(origins) != 1 or not origins[0].isascii():
            return None
        text: str = origins[0].decode("ascii")
        return text

    @abstractmethod
    def validate_origin(self, message: Message, origin: str) -> bool:
        """Whether a page of this origin (``https://example.org``, or ``null``) may connect."""


class AllowedHostsOnlyOriginValidator(BaseOriginValidator):
    """Denies pages that are not of the allowed hosts; see `set_allowed_hosts`."""

    def validate_origin(self, message: Message, origin: str) -> bool:
        return origin_allowed(message.get("headers", ()), _allowed_hosts)


allowed_hosts_only = AllowedHostsOnlyOriginValidator
