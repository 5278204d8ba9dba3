"""The board's WebSocket. Requests that no route here takes go to Django's views."""

from shmchan import Message, route, route_class
from shmchan.exceptions import DenyConnection

from .consumers import Board


def refuse(message: Message) -> None:
    """Any other path: without this route the default one would accept it."""
    raise DenyConnection


channel_routing = [route_class(Board, path=r".*/board/$"), route("websocket.connect", refuse)]
