"""
`BaseConsumer`: a class whose methods are the consumers of several channels.

Owns the way from a message's channel to a method, the decorators that flags ask for, and that methods are plain functions. An
instance lives for one message, so what is to be remembered goes into a session. Workers and test clients run it.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from shmchan.auth import channel_session_user
from shmchan.http import Response
from shmchan.message import Message
from shmchan.routing import RouteClass
from shmchan.sessions.connection import channel_session

Handler = Callable[..., Any]


class BaseConsumer:
    """
    A consumer; to make an instance is to consume its message. Route it by `as_route`, or by ``route_class``.

    Args:
        message: the message.
        kwargs: the named groups of its route.

    Attributes:
        method_mapping: names of methods by the channel whose messages they take: ``method(message, **kwargs)``.
        channel_session: whether they have ``message.channel_session``.
        channel_session_user: whether they have that and ``message.user``.
        message, kwargs: as given.

    Raises:
        TypeError: when a subclass is made: one of the methods that are called for messages is ``async def``.
    """

    method_mapping: ClassVar[dict[str, str]] = {}
    channel_session: bool = False
    channel_session_user: bool = False
    _plain: ClassVar[tuple[str, ...]] = ("dispatch", "get_handler")
    """Methods that are called besides those of method_mapping."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_async(cls, [*cls._plain, *cls.method_mapping.values()])

    def __init__(self, message: Message, **kwargs: Any) -> None:
        self.message = message
        self.kwargs = kwargs
        result = self.dispatch(message, **kwargs)
        refuse_coroutine(result, type(self))
        if isinstance(result, Response):  # a class cannot return it to the worker
            if message.reply_channel is None:
                raise ValueError(f"{type(self).__qualname__} returned a Response, but its message has no reply_channel")
            result.answer(message)

    @classmethod
    def channel_names(cls) -> set[str]:
        """The channels whose messages it takes."""
        return set(cls.method_mapping)

    @classmethod
    def as_route(cls, attrs: dict[str, Any] | None = None, **filters: Any) -> RouteClass:
        """
        A route to this class.

        Args:
            attrs: attributes that a subclass for this route alone has.
            filters: as for ``route``.

        Raises:
            TypeError: attrs is no dict.
        """
        if attrs is None:
            return RouteClass(cls, **filters)
        if not isinstance(attrs, dict):
            raise TypeError(f"attrs is a dict of class attributes, not {attrs!r}")
        return RouteClass(type(cls.__name__, (cls,), {"__module__": cls.__module__, **attrs}), **filters)

    def dispatch(self, message: Message, **kwargs: Any) -> Any:
        """Call the method for this message."""
        return self.get_handler(message, **kwargs)(message, **kwargs)

    def get_handler(self, message: Message, **kwargs: Any) -> Handler:
        """
        The method for this message, with the decorators that the flags ask for.

        Raises:
            ValueError: there is none for its channel.
        """
        name = self.method_mapping.get(message.channel_name)
        if name is None:
            raise ValueError(f"the method_mapping of {type(self).__qualname__} has nothing for {message.channel_name}")
        handler: Handler = getattr(self, name)
        if self.channel_session_user:
            return channel_session_user(handler)
        return channel_session(handler) if self.channel_session else handler


def refuse_async(cls: type, names: Iterable[str]) -> None:
    """
    Say so when a class is made of which one of these methods is `async def`.

    Raises:
        TypeError: the first of them, by name.
    """
    for name in names:
        if is_async(getattr(cls, name, None)):
            raise TypeError(
                f"{cls.__module__}.{cls.__qualname__}.{name} is `async def`, but methods of class-based consumers are plain "
                f"functions; write `def {name}`, or route a function that is `async def` instead of the class"
            )


def is_async(function: object) -> bool:
    """Whether a function is `async def`, with a `yield` in it or without."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def refuse_coroutine(result: object, consumer: object) -> None:
    """
    Say so where a method or a consumer turns out to be `async def`, below its decorators, instead of never running it.

    Raises:
        TypeError: the result is a coroutine.
    """
    if inspect.iscoroutine(result):
        result.close()
        name = getattr(consumer, "__qualname__", repr(consumer))
        raise TypeError(f"{name} is `async def` where nobody awaits it; methods of class-based consumers are plain functions")
