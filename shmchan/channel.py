"""
`Channel` and `Group`: what applications send with.

Owns when a message goes out: at the end of the consumer that sends it, or at once. It never stores one; a consumer's are in
:mod:`shmchan.pending`. Any process that talks to a layer runs it.
"""

import time
from typing import Any

from shmchan import names
from shmchan.asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from shmchan.exceptions import ChannelFull
from shmchan.layers.base import BaseChannelLayer
from shmchan.layers.memories import MAX_HISTORY, Missed, UserId
from shmchan.pending import current

_ROOM_POLL = 0.002  # seconds between two tries of send(block=True)


class Channel:
    """
    A channel, to send to.

    Args:
        name: its name.
        alias: which of the process's layers it is on.
        channel_layer: the layer itself, instead of the alias.

    Raises:
        TypeError: the name is not allowed.
    """

    __slots__ = ("_layer", "alias", "name")

    def __init__(self, name: str, alias: str = DEFAULT_CHANNEL_LAYER, channel_layer: BaseChannelLayer | None = None) -> None:
        self.name = names.check_channel(name)
        self.alias = alias
        self._layer = channel_layer

    @property
    def channel_layer(self) -> BaseChannelLayer:
        """The layer it is on; found when it is needed, so that a channel may be made before its layer."""
        layer = self._layer
        return channel_layers[self.alias] if layer is None else layer

    def send(self, content: dict[str, Any], immediately: bool = False, block: bool = False) -> None:
        """
        Send a message: when the consumer that calls this is done, and at once outside of one.

        Args:
            content: a dict of plain values; it may be changed afterwards without harm.
            immediately: send at once also in a consumer.
            block: with ``immediately``, wait for room in a full channel, for at most the time a message may wait in it.

        Raises:
            TypeError: content is no dict, or something in it cannot travel.
            MessageTooLarge: it is too long.
            ChannelFull: the channel is full; only where it is sent at once.
            ValueError: ``block`` without ``immediately``.
        """
        _check_content(content)
        layer = self._layer or channel_layers[self.alias]
        pending = current.get()
        if immediately:
            if block:
                _send_when_there_is_room(layer, self.name, content)
            else:
                layer.send(self.name, content)
            if pending is not None:
                pending.note(self.name)
            return
        if block:
            raise ValueError("block=True waits for room now, and needs immediately=True; what is buffered waits by itself")
        if pending is None or not pending.add(layer, "channel", self.name, layer.encode(content)):
            layer.send(self.name, content)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Channel) and (self.name, self.alias, self._layer) == (other.name, other.alias, other._layer)

    def __hash__(self) -> int:
        return hash(self.name)


class Group:
    """
    A group of channels, to send to all of them.

    Args:
        name: its name.
        alias: which of the process's layers it is on.
        channel_layer: the layer itself, instead of the alias.
        history: how many of its last messages are kept for those who were away; 0: none. What is sent by a `Group` of this name
            without a history is not kept, and has no offset: make the group once, and import it.
        presence: whether `add` notes whose channel it is: the group is told who comes and goes, and `members` says who is there.

    Raises:
        TypeError: the name is not allowed.
        ValueError: so many messages cannot be kept.
    """

    __slots__ = ("_layer", "alias", "history", "name", "presence")

    def __init__(
        self,
        name: str,
        alias: str = DEFAULT_CHANNEL_LAYER,
        channel_layer: BaseChannelLayer | None = None,
        *,
        history: int = 0,
        presence: bool = False,
    ) -> None:
        self.name = names.check_group(name)
        self.alias = alias
        self._layer = channel_layer
        if type(history) is not int or not 0 <= history <= MAX_HISTORY:
            raise ValueError(f"a history keeps 0 to {MAX_HISTORY} messages, not {history!r}")
        self.history = history
        self.presence = presence

    @property
    def channel_layer(self) -> BaseChannelLayer:
        """The layer it is on; found when it is needed."""
        layer = self._layer
        return channel_layers[self.alias] if layer is None else layer

    def add(self, channel: Channel | str, user: Any = None) -> None:
        """
        Put a channel in, or renew its membership; at once.

        Args:
            user: with ``presence``, whose channel it is: an id, which is a str of at most 98 bytes in UTF-8 or an int of 64 bits,
                or an object whose ``pk`` or ``id`` is one, such as ``message.user``. Nobody, or somebody anonymous, is a member
                whom nobody sees.

        Raises:
            TypeError: user is none of these.
            ValueError: a user, for a group without presence; or an id that is too long.
        """
        name = channel.name if isinstance(channel, Channel) else channel
        layer = self.channel_layer
        if self.presence:
            if getattr(user, "is_authenticated", True) is False:
                user = None
            elif type(user) not in (str, int):
                user = getattr(user, "pk", getattr(user, "id", user))
            layer.group_add(self.name, name, user)
        elif user is not None:
            raise ValueError(f'the group {self.name!r} notes no users; make it by Group("{self.name}", presence=True)')
        else:
            layer.group_add(self.name, name)

    def members(self) -> dict[UserId, float]:
        """Who is there: the users whose channels were added with ``presence``, and since when, in seconds since 1970."""
        return self.channel_layer.group_users(self.name)

    def discard(self, channel: Channel | str) -> None:
        """Take a channel out, if it is in; at once."""
        self.channel_layer.group_discard(self.name, channel.name if isinstance(channel, Channel) else channel)

    def send(self, content: dict[str, Any], immediately: bool = False) -> None:
        """
        Send a message to every member: when the consumer that calls this is done, and at once outside of one.

        Members whose channel is full do not get it; this is counted.

        Raises:
            TypeError: content is no dict, or something in it cannot travel.
            MessageTooLarge: it is too long; where it is kept in a history, beyond 65,000 bytes.
        """
        _check_content(content)
        layer = self._layer or channel_layers[self.alias]
        pending = None if immediately else current.get()
        if pending is not None:
            history = self.history
            payload = layer.encode_kept(self.name, content, history) if history else layer.encode(content)
            if pending.add(layer, "group", self.name, payload):
                return
        layer.send_group(self.name, content, self.history)

    def since(self, epoch: str | None, offset: int) -> Missed:
        """
        What was sent to it after a place in its history: ``messages``, whether there is a ``gap``, and the place that is now.

        Args:
            epoch, offset: of the last message that is known, from its ``history``; None and 0 for whoever knows none.
        """
        return self.channel_layer.group_since(self.name, epoch, offset)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Group({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and (self.name, self.alias, self._layer) == (other.name, other.alias, other._layer)

    def __hash__(self) -> int:
        return hash(self.name)


def _check_content(content: object) -> None:
    if not isinstance(content, dict):
        raise TypeError(f'a message is a dict, like {{"text": "hello"}}, not {content!r}')


def _send_when_there_is_room(layer: BaseChannelLayer, name: str, content: dict[str, Any]) -> None:
    end = time.monotonic() + layer.expiry
    while True:
        try:
            layer.send(name, content)
            return
        except ChannelFull:
            if time.monotonic() >= end:
                raise
        time.sleep(_ROOM_POLL)
