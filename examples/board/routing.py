"""
Which consumer gets which message: the board's WebSocket under ``/board/``, the page for every HTTP request, nothing else.

Owns the demultiplexer: who connects joins a group, and gets the cards as they are. Who it is stands in the path, since this is an
example and asks for no password; the channel session remembers it, as it would after a real login.
"""

from typing import Any, ClassVar

from shmchan import Message, route, route_class
from shmchan.auth import login, set_user_loader
from shmchan.exceptions import DenyConnection
from shmchan.generic.websockets import WebsocketDemultiplexer, WebsocketMultiplexer

from .bindings import CardBinding, group_of
from .models import find_person, visible_to
from .pages import serve

PATH = r"/board/@(?P<who>[a-z]{1,30})$"
set_user_loader(find_person)


def cards(message: Message, multiplexer: WebsocketMultiplexer, who: str) -> None:
    """The stream of the cards: all of them when somebody connects, then their changes. One may come twice; it has a version."""
    if message.channel_name == "websocket.connect":
        person = find_person(who)
        if person is None:
            raise DenyConnection
        login(message.channel_session, person.id)
        binding = CardBinding()
        now = [binding.serialize(card, "create") for card in visible_to(person)]
        message.reply_channel.send({"accept": True})
        multiplexer.send({"action": "all", "cards": now, "admin": person.is_admin})
    else:
        CardBinding.consumer(message, multiplexer=multiplexer, who=who)


class Board(WebsocketDemultiplexer):
    """One WebSocket, of which the cards are one stream; joined to the group before they are read, so that nothing is missed."""

    channel_session = True
    consumers: ClassVar[dict[str, Any]] = {"cards": cards}

    def connection_groups(self, **kwargs: Any) -> list[str]:
        person = find_person(kwargs["who"])
        return [] if person is None else [group_of(person)]


def refuse(message: Message) -> None:
    """Any other path: without this route the default one would accept it."""
    raise DenyConnection


routing = [
    route_class(Board, path=PATH),
    route("websocket.connect", refuse),
    route("http.request", serve),
]
