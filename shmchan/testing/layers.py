"""
The layers and routes that a test runs with.

Owns segments that live as long as a test does, and what they replace meanwhile. It never touches a running instance. Test
processes run it.
"""

import atexit
import copy
import functools
import itertools
import os
import secrets
import unittest
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self, TypeVar

from shmchan.asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from shmchan.auth import kept_user_loader
from shmchan.layers.base import BaseChannelLayer
from shmchan.layers.shm import ShmChannelLayer
from shmchan.routing import Router
from shmchan.sessions.store import TWO_WEEKS, SessionGone, settings

MEMORY = 32 << 20
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_numbers = itertools.count(1)


@contextmanager
def own_layer(alias: str = DEFAULT_CHANNEL_LAYER, **options: Any) -> Iterator[ShmChannelLayer]:
    """
    A channel layer that nobody else has, in a segment of its own, under this alias; browsers' sessions are kept in memory. A user
    loader that is set meanwhile goes with it.

    Args:
        options: for `ShmChannelLayer`.
    """
    name = f"testing-{os.getpid()}-{next(_numbers)}"
    with kept_user_loader(), ShmChannelLayer.create(name, **{"memory": MEMORY, **options}) as layer:
        before, engine = channel_layers.set(alias, layer), settings.engine
        settings.engine = MemoryEngine()
        try:
            yield layer
        finally:
            settings.engine = engine
            channel_layers.set(alias, before)


def layer_of(alias: str) -> BaseChannelLayer:
    """The layer that a test has set under an alias; where none has, one that lives as long as this process."""
    if not _is_set(alias):
        stack = ExitStack()
        stack.enter_context(own_layer(alias))
        atexit.register(_close_in, os.getpid(), stack)
    return channel_layers[alias]


def _is_set(alias: str) -> bool:
    """Whether a test may use what is there: not what this process attached to, whose workers would take the test's messages."""
    return alias in channel_layers and not channel_layers.is_attached(alias)


def _close_in(process: int, stack: ExitStack) -> None:
    if os.getpid() == process:
        stack.close()


class MemoryEngine:
    """The sessions of browsers, in a dict; see `shmchan.sessions.store.Engine`."""

    max_age: float = TWO_WEEKS

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    def load(self, key: str) -> dict[str, Any] | None:
        """A copy of what is kept under a key."""
        found = self._kept.get(key)
        return copy.deepcopy(found)

    def save(self, key: str | None, content: dict[str, Any]) -> str:
        """Keep it, under a new key if it has none yet."""
        if key is None:
            key = secrets.token_urlsafe(24)
        elif key not in self._kept:
            raise SessionGone(f"the session {key!r} was deleted; make a new one")
        self._kept[key] = copy.deepcopy(content)
        return key

    def delete(self, key: str) -> None:
        """Forget it."""
        self._kept.pop(key, None)


class apply_routes:
    """
    Routes for a test: a context, and a decorator of functions and classes. A user loader that is set meanwhile goes with them.

    Args:
        routes: anything that works as a routing, or a single route; the defaults come after it.
        aliases: the layers that have it.
    """

    def __init__(self, routes: Any, aliases: Sequence[str] = (DEFAULT_CHANNEL_LAYER,)) -> None:
        if callable(getattr(routes, "match", None)) and not isinstance(routes, Router):
            routes = [routes]
        self.routes = routes
        self.aliases = aliases
        self._stacks: list[ExitStack] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(kept_user_loader())
            for alias in self.aliases:
                layer = channel_layers[alias] if _is_set(alias) else stack.enter_context(own_layer(alias))
                router = Router(self.routes)
                router.check_default()
                stack.callback(setattr, layer, "router", layer.router)
                layer.router = router
            self._stacks.append(stack.pop_all())
        return self

    def __exit__(self, *exc: object) -> None:
        self._stacks.pop().close()

    def __call__(self, decorated: Decorated) -> Decorated:
        if isinstance(decorated, type):
            self._decorate_class(decorated)
            return decorated

        @functools.wraps(decorated)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self:
                return decorated(*args, **kwargs)

        return called  # type: ignore[return-value]

    def _decorate_class(self, cls: Any) -> None:
        """Around each test: of a TestCase with its setUp and tearDown, of any other class its methods ``test…``."""
        if not issubclass(cls, unittest.TestCase):
            for name in [name for name in dir(cls) if name.startswith("test") and callable(getattr(cls, name))]:
                setattr(cls, name, self(getattr(cls, name)))
            return
        original = cls.setUp
        routes, aliases = self.routes, self.aliases

        @functools.wraps(original)
        def set_up(case: Any) -> None:
            case.enterContext(apply_routes(routes, aliases))
            original(case)

        cls.setUp = set_up
