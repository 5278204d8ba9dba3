"""
`Session`: a dict that knows whether it was changed.

Owns the comparison with what was stored last, nested values included, and the decorating of consumers that every kind of session
shares. It never stores anything itself: subclasses do. Workers, test clients and WSGI applications run it.
"""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

from shmchan.layers import wire
from shmchan.message import Message

Consumer = TypeVar("Consumer", bound=Callable[..., Any])
NO_LIMIT = 1 << 62


class Session(dict[str, Any], ABC):
    """
    Plain values by name (those that messages may hold), kept elsewhere between messages.

    Attributes:
        session_key: what it is found by; None before it was saved for the first time.
        modified: whether it differs from what is stored, however deep; set it to True to have it saved in any case.
    """

    session_key: str | None = None

    def __init__(self, content: dict[str, Any] | None = None) -> None:
        super().__init__(content or {})
        self._stored = _image(self)
        self._forced = False

    @property
    def modified(self) -> bool:
        """Whether it is to be saved: something in it changed, also deep down, or it was set to True."""
        return self._forced or _image(self) != self._stored

    @modified.setter
    def modified(self, value: bool) -> None:
        self._forced = value
        if not value:
            self._stored = _image(self)

    def load(self) -> "Session":
        """Read again what is stored; changes that were not saved are lost. Returns itself."""
        self._replace(self._read())
        return self

    def save(self) -> None:
        """
        Store what is in it.

        Raises:
            TypeError: a value in it cannot be stored; the text names its key.
        """
        wire.encode(self, NO_LIMIT)
        self._write()
        self.modified = False

    @abstractmethod
    def delete(self) -> None:
        """Remove what is stored; what is in this object stays."""

    def flush(self) -> None:
        """Empty it, here and where it is stored."""
        self.delete()
        self._replace({})

    def _replace(self, content: dict[str, Any]) -> None:
        self.clear()
        self.update(content)
        self.modified = False

    @abstractmethod
    def _read(self) -> dict[str, Any]:
        """What is stored; empty if nothing is."""

    @abstractmethod
    def _write(self) -> None:
        """Store all of it."""

    def __eq__(self, other: object) -> bool:
        return dict.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return dict.__ne__(self, other)

    __hash__ = None  # type: ignore[assignment]  # like dict's own


def _image(session: dict[str, Any]) -> bytes | None:
    """What a session would be stored as; None, which equals nothing that was stored, if it cannot be."""
    try:
        return wire.encode(session, NO_LIMIT)
    except TypeError:
        return None


def decorated(consumer: Consumer, scope: Callable[[Message], AbstractContextManager[object]]) -> Consumer:
    """
    A consumer that runs within ``scope(message)``, `async def` ones included.

    Args:
        consumer: a callable ``consumer(message, ...)``, or a method of that shape which is bound already.
        scope: makes a context manager; it sees what the consumer raises.
    """
    if inspect.iscoroutinefunction(consumer):

        @functools.wraps(consumer)
        async def awaited(message: Message, *args: Any, **kwargs: Any) -> Any:
            with scope(message):
                return await consumer(message, *args, **kwargs)

        return cast(Consumer, awaited)

    @functools.wraps(consumer)
    def called(message: Message, *args: Any, **kwargs: Any) -> Any:
        with scope(message):
            return consumer(message, *args, **kwargs)

    return cast(Consumer, called)
