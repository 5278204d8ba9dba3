"""Which consumer gets which message: the rooms under ``/chat/``, their reminders, the page for every HTTP request, no more."""

from shmchan import Message, route
from shmchan.exceptions import DenyConnection

from . import rooms
from .frames import ROOM
from .pages import serve

# The room and the name stand in the path, which every message of a connection carries: no consumer has to remember them.
PATH = rf"/chat/(?P<room>{ROOM})/@(?P<name>.+)$"


def refuse(message: Message) -> None:
    """Any other path: without this route the default one would accept it."""
    raise DenyConnection


routing = [
    route("websocket.connect", rooms.connect, path=PATH),
    route("websocket.receive", rooms.receive, path=PATH),
    route("websocket.disconnect", rooms.disconnect, path=PATH),
    route("websocket.connect", refuse),
    route("chat.remind", rooms.remind),
    route("http.request", serve),
]
