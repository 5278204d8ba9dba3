"""
`channel_session`: what a worker remembers of one connection.

Owns the session of a reply channel, and when it is read, saved and dropped. It is kept in the layer, so that it is there for
whichever worker takes the connection's next message. Workers and test clients run it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shmchan.asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from shmchan.exceptions import ConsumeLater
from shmchan.layers.base import BaseChannelLayer
from shmchan.message import Message
from shmchan.sessions.session import Consumer, Session, decorated

_LAST = ("websocket.disconnect", "http.disconnect")


class ChannelSession(Session):
    """
    The session of one reply channel, as it is now.

    Args:
        layer: the layer that keeps it.
        reply_channel: whose session it is; also its session_key.
    """

    def __init__(self, layer: BaseChannelLayer, reply_channel: str) -> None:
        self.layer = layer
        self.session_key: str = reply_channel
        super().__init__(self._read())

    def delete(self) -> None:
        self.layer.session_drop(self.session_key)

    def _read(self) -> dict[str, Any]:
        return self.layer.session_load(self.session_key) or {}

    def _write(self) -> None:
        if self:
            self.layer.session_save(self.session_key, self)
        else:
            self.delete()


def channel_session(func: Consumer) -> Consumer:
    """
    Give a consumer ``message.channel_session``, a dict that is the same for all messages of one connection.

    It is saved when the consumer is done, if it was changed, also if the consumer raised; at once, not with what the consumer
    sends. It is still there in ``websocket.disconnect``, and gone after it.

    Raises:
        ValueError: when the consumer runs: the message has no reply_channel.
        MessageTooLarge, ChannelFull: the session does not fit where it is kept.
    """
    return decorated(func, _scope)


@contextmanager
def _scope(message: Message) -> Iterator[None]:
    if getattr(message, "channel_session", None) is not None:
        yield  # an outer decorator's, who saves it
        return
    session = session_of(message)
    message.channel_session = session
    last = message.channel_name in _LAST
    try:
        yield
    except ConsumeLater:
        last = False  # the message comes again
        raise
    finally:
        if last:
            session.delete()
        elif session.modified:
            session.save()


def session_of(message: Message) -> ChannelSession:
    """The session of the connection that a message belongs to."""
    reply_channel = message.reply_channel
    if reply_channel is None:
        raise ValueError(
            f"@channel_session needs a reply_channel in its messages, whose session it is; this one on {message.channel_name} "
            f"has none"
        )
    layer = message.channel_layer
    return ChannelSession(channel_layers[DEFAULT_CHANNEL_LAYER] if layer is None else layer, reply_channel.name)
