"""
Who is in which group of an in-memory layer: users, each once, however many channels of theirs are members.

Owns what a group has still to be told. It never locks, sends or decides when a membership ends: the layer holds its lock around
every call. A process that runs on that layer has one.
"""

import time
from collections.abc import Mapping, MutableMapping

from shmchan.layers.memories import Presence, UserId


class _User:
    __slots__ = ("channels", "claimed", "since", "told")

    def __init__(self) -> None:
        self.channels: set[str] = set()
        self.since = 0.0
        self.told = False
        self.claimed = False


class Presences:
    """All users of one layer's groups."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[UserId, _User]] = {}
        self._of_channel: dict[str, dict[str, UserId]] = {}  # channel: group: user
        self._owed: dict[tuple[str, UserId], None] = {}

    def enter(self, group: str, channel: str, user: UserId) -> None:
        """A membership names a user from now on."""
        groups = self._of_channel.setdefault(channel, {})
        if group in groups and groups[group] != user:
            self.exit(group, channel)
            groups = self._of_channel.setdefault(channel, {})
        groups[group] = user
        entry = self._groups.setdefault(group, {}).setdefault(user, _User())
        if not entry.channels:
            entry.since = time.time()
        entry.channels.add(channel)
        self._settle(group, user, entry)

    def exit(self, group: str, channel: str) -> None:
        """A membership has ended."""
        groups = self._of_channel.get(channel, {})
        if group not in groups:
            return
        user = groups.pop(group)
        if not groups:
            del self._of_channel[channel]
        entry = self._groups[group][user]
        entry.channels.discard(channel)
        self._settle(group, user, entry)

    def leave(self, channel: str, memberships: MutableMapping[str, dict[str, float]]) -> None:
        """A channel is gone: it leaves the groups in which it has a user."""
        for group in [*self._of_channel.get(channel, ())]:
            self.exit(group, channel)
            members = memberships.get(group, {})
            members.pop(channel, None)
            if not members:
                memberships.pop(group, None)

    def users(self, group: str) -> dict[UserId, float]:
        """Who is there, and since when."""
        found: Mapping[UserId, _User] = self._groups.get(group, {})
        return {user: entry.since for user, entry in found.items() if entry.channels}

    def take(self) -> Presence | None:
        """The first thing that is owed and that nobody is telling."""
        for group, user in self._owed:
            entry = self._groups[group][user]
            if not entry.claimed:
                entry.claimed = True
                return Presence(group, user, bool(entry.channels), entry.since, entry)
        return None

    def told(self, presence: Presence) -> None:
        """It was told."""
        entry: _User = presence.token
        if self._groups.get(presence.group, {}).get(presence.user) is not entry:
            return
        entry.claimed = False
        entry.told = presence.present
        self._settle(presence.group, presence.user, entry)

    def clear(self) -> None:
        """Everybody has left, and nobody is told."""
        self._groups.clear()
        self._of_channel.clear()
        self._owed.clear()

    def _settle(self, group: str, user: UserId, entry: _User) -> None:
        if entry.claimed or bool(entry.channels) != entry.told:
            self._owed[group, user] = None
            return
        self._owed.pop((group, user), None)
        if not entry.channels:
            del self._groups[group][user]
            if not self._groups[group]:
                del self._groups[group]
