"""
`Message`: what a consumer is called with.

Owns the view on one message's content, and the channels named in it. It never sends or receives. Workers and test clients run it.
"""

import copy
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from shmchan.channel import Channel
from shmchan.layers.base import BaseChannelLayer


class _Once:
    """An attribute that is worked out when it is first asked for; unlike `functools.cached_property` of 3.11 it takes no lock."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.function(instance)
        return value


class Message:
    """
    One message, with the dict's own ways to look into it. Decorators may put attributes of their own on it.

    Args:
        content: the dict that was sent; it belongs to this object.
        channel_name: where it came from.
        channel_layer: the layer it came through.

    Attributes:
        content: the dict.
        channel_layer: the layer it came through.
        user, channel_session, http_session: what decorators of `shmchan.auth` and `shmchan.sessions` put on it; without them it
            has none.
    """

    user: Any
    channel_session: Any
    http_session: Any

    def __init__(self, content: dict[str, Any], channel_name: str, channel_layer: BaseChannelLayer | None = None) -> None:
        if not isinstance(content, dict):
            raise TypeError(f"a message's content is a dict, not {content!r}")
        self.content = content
        self.channel_name = channel_name
        self.channel_layer = channel_layer

    @_Once
    def channel(self) -> Channel:
        """Where it came from."""
        return Channel(self.channel_name, channel_layer=self.channel_layer)

    @_Once
    def reply_channel(self) -> Channel | None:
        """Where answers go to; None if it has no ``reply_channel``."""
        name = self.content.get("reply_channel")
        return Channel(name, channel_layer=self.channel_layer) if name else None

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.content[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self.content

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default."""
        return self.content.get(key, default)

    def keys(self) -> KeysView[str]:
        """The keys of the content."""
        return self.content.keys()

    def values(self) -> ValuesView[Any]:
        """The values of the content."""
        return self.content.values()

    def items(self) -> ItemsView[str, Any]:
        """The items of the content."""
        return self.content.items()

    def copy(self) -> "Message":
        """A message of its own, on a deep copy of the content."""
        return type(self)(copy.deepcopy(self.content), self.channel_name, self.channel_layer)

    def __repr__(self) -> str:
        return f"<Message on {self.channel_name}: {', '.join(self.content)}>"
