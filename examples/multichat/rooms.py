"""
The rooms: which there are, who may enter them, and who is there.

A room is a group of connections; nothing else is kept of it. Owns the rules, and the errors that a client is told. The workers
run it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shmchan import Channel, Group
from shmchan.sessions import ChannelSession

MOST_PEOPLE = 200  # that a newcomer is told of


@dataclass(frozen=True)
class Room:
    """A room, by its short name in commands and its title for people."""

    slug: str
    title: str
    about: str
    staff_only: bool = False

    @property
    def group(self) -> Group:
        """The connections that have joined."""
        return Group(f"multichat.room.{self.slug}")

    def people(self) -> Iterator[dict[str, str]]:
        """
        Who is there: ``{"id", "name"}`` of each connection.

        The name is in the connection's session, which goes with it, as its membership does: so there is no list that could be
        wrong after a crash.
        """
        layer = self.group.channel_layer
        for channel in layer.group_channels(self.group.name)[:MOST_PEOPLE]:
            name = ChannelSession(layer, channel).get("name")
            if name is not None:
                yield {"id": identity(channel), "name": name}


ROOMS = {
    room.slug: room
    for room in (
        Room("lobby", "Lobby", "Where everybody comes in."),
        Room("workshop", "Workshop", "Half-finished engines, and advice about them."),
        Room("garden", "Garden", "Anything but work."),
        Room("office", "Staff office", "For those with a key.", staff_only=True),
    )
}


class ClientError(Exception):
    """
    A command that cannot be done. Its text is for the person who gave it, and goes to nobody else.

    Attributes:
        code: what the page can tell it by.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def room_for(user: Any, slug: object) -> Room:
    """
    The room of this name, for this user.

    Raises:
        ClientError: not_logged_in, unknown_room or no_access.
    """
    if not user.is_authenticated:
        raise ClientError("not_logged_in", "You are not logged in. Log in, and come back.")
    room = ROOMS.get(slug) if isinstance(slug, str) else None
    if room is None:
        raise ClientError("unknown_room", "There is no such room.")
    if room.staff_only and not user.is_staff:
        raise ClientError("no_access", f"The {room.title} is for staff only.")
    return room


def identity(reply_channel: Channel | str) -> str:
    """The public name of a connection, made from what only the server knows."""
    return hashlib.sha256(str(reply_channel).encode()).hexdigest()[:16]


def connections_of(session_key: str) -> Group:
    """The connections of one browser, so that its logout can end them."""
    return Group(f"multichat.session.{hashlib.sha256(session_key.encode()).hexdigest()[:32]}")
