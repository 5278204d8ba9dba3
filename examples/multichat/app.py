"""
Which consumer gets which message, and where users and sessions are.

Importing it makes the databases and changes settings of the process, so that only workers do it.
"""

from shmchan import Message, route
from shmchan.auth import set_user_loader
from shmchan.exceptions import DenyConnection
from shmchan.sessions import use_sessions

from . import pages, users
from .streams import Streams

users.prepare()
use_sessions(path=users.state_folder() / "sessions.db")
set_user_loader(users.load)  # what --user-loader does


def refuse(message: Message) -> None:
    """Any other path: without this route the default one would accept it."""
    raise DenyConnection


READ = "^(?:GET|HEAD)$"
POST = "^POST$"

routing = [
    Streams.as_route(path="^/streams$"),
    route("websocket.connect", refuse),
    route("http.request", pages.home, path="^/$", method=READ),
    route("http.request", pages.show_login, path="^/login$", method=READ),
    route("http.request", pages.log_in, path="^/login$", method=POST),
    route("http.request", pages.log_out, path="^/logout$", method=POST),
    route("http.request", pages.file, path=r"^/static/(?P<name>[a-z]+\.[a-z]+)$", method=READ),
    route("http.request", pages.refuse, path="^/(?:login|logout)?$"),
]
