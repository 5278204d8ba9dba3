"""The board's WebSocket: whoever is logged in joins a group, and gets the cards as they are, then their changes."""

from typing import Any, ClassVar

from shmchan import Message
from shmchan.exceptions import DenyConnection
from shmchan.generic.websockets import WebsocketDemultiplexer, WebsocketMultiplexer

from .bindings import CardBinding, group_of
from .models import Card


def cards(message: Message, multiplexer: WebsocketMultiplexer) -> None:
    """The stream of the cards. A card may come twice; it has a version."""
    if message.channel_name == "websocket.connect":
        user = message.user
        if not user.is_authenticated:
            raise DenyConnection
        visible = Card.objects.all() if user.is_staff else Card.objects.filter(admin_only=False)
        binding = CardBinding()
        message.reply_channel.send({"accept": True})
        now = [binding.serialize(card, "create") for card in visible]
        multiplexer.send({"action": "all", "cards": now, "admin": user.is_staff})
    else:
        CardBinding.consumer(message, multiplexer=multiplexer)


class Board(WebsocketDemultiplexer):
    """Joined to the group before the cards are read, so that nothing is missed."""

    http_user = True
    consumers: ClassVar[dict[str, Any]] = {"cards": cards}

    def connection_groups(self, **kwargs: Any) -> list[str]:
        user = self.message.user
        return [group_of(user)] if user.is_authenticated else []
