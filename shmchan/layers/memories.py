"""
What groups remember, as a layer keeps it: their last messages with their places, and which users are in them.

Owns the types, the bounds and what every layer does alike: the encoding of a message that is kept, the answer to what was missed,
the words in which a group is told who came and went. It never stores any of it. Every process runs it; docs/groups.md explains.
"""

import abc
import json
from typing import Any, NamedTuple, Self

from shmchan import names
from shmchan.exceptions import MessageTooLarge
from shmchan.layers import wire

Message = dict[str, Any]
UserId = str | int

MAX_HISTORY = 10_000  # messages that a group's history keeps at most
MAX_USER_SIZE = 98  # bytes of a user's id that is a str, in UTF-8; the core takes 100 of it encoded
MAX_KEPT_SIZE = 65000  # bytes of one of them, encoded, with its place


class Kept(bytes):
    """
    A group's message that its history keeps, encoded, with a place for its offset at the end. An outbox takes it as any other.

    Attributes:
        keep: how many messages the history keeps, this one included.
    """

    keep: int

    def __new__(cls, payload: bytes, keep: int) -> Self:
        made = super().__new__(cls, payload)
        made.keep = keep
        return made


class Presence(NamedTuple):
    """
    Something that a group has to be told.

    Attributes:
        present: whether the user is there.
        since: when the user came, in seconds since 1970.
        token: how the layer finds it again; nobody else looks at it.
    """

    group: str
    user: UserId
    present: bool
    since: float
    token: Any


class Missed(NamedTuple):
    """
    What a group's history has of the messages after a place in it.

    Attributes:
        messages: oldest first, each with its place: ``message["history"]`` has ``group``, ``epoch`` and ``offset``.
        gap: some that were sent after that place are no longer there, or the place is of another epoch.
        epoch, offset: of the last message that was sent; where to go on the next time.
    """

    messages: list[Message]
    gap: bool
    epoch: str
    offset: int


class Memories(abc.ABC):
    """The part of a layer that is about what groups remember."""

    @abc.abstractmethod
    def encode(self, message: Message) -> bytes:
        """A message as outboxes hold it."""

    @abc.abstractmethod
    def send_group(self, group: str, message: Message, history: int = 0) -> None:
        """Send a message to every channel in a group."""

    # --- who is in a group

    @abc.abstractmethod
    def group_users(self, group: str) -> dict[UserId, float]:
        """The users who are present in a group, and since when: seconds since 1970."""

    @abc.abstractmethod
    def _take_presence(self) -> Presence | None:
        """Take on to tell a group of one user; None if nothing is owed, or others are at it."""

    @abc.abstractmethod
    def _presence_told(self, presence: Presence) -> None:
        """It was told."""

    def tell_presence(self) -> None:
        """
        Tell groups which users have come or gone, as far as they were not told yet. Who adds or discards does it, and workers.

        Once for each coming and going; twice perhaps where the process that told was killed. Never unsaid: what is owed outlives
        whoever was to tell it.
        """
        while (presence := self._take_presence()) is not None:
            what = "join" if presence.present else "leave"
            word = {"presence": what, "group": presence.group, "user": presence.user, "since": presence.since}
            text = json.dumps(word, ensure_ascii=False)
            self.send_group(presence.group, {"text": text, "event": "presence", "data": text})
            self._presence_told(presence)

    def _encode_user(self, user: UserId | None) -> bytes:
        if user is None:
            return b""
        if type(user) not in (str, int):
            raise TypeError(f"a user's id is a str or an int, not {user!r}")
        if isinstance(user, int):
            if not -(1 << 63) <= user < 1 << 63:
                raise ValueError(
                    f"a user's id fits into signed 64 bits, where it is an int, and {user} does not; give it as a str"
                )
        else:
            try:
                size = len(user.encode())
            except UnicodeEncodeError:
                raise ValueError(f"a user's id is a str that UTF-8 can carry, not {user[:40]!r}, or an int") from None
            if size > MAX_USER_SIZE:
                raise ValueError(
                    f"a user's id, by which a group knows who is there, has at most {MAX_USER_SIZE} bytes in UTF-8; this one, "
                    f"{user[:20] + '…'!r}, has {size}: give a shorter one, such as the user's primary key"
                )
        return wire.encode({"": user}, MAX_USER_SIZE + 4)[2:]

    # --- histories of groups

    @property
    @abc.abstractmethod
    def epoch(self) -> str:
        """Of this layer's contents: another one after everything was lost, so that old offsets are known to be old."""

    def encode_kept(self, group: str, message: Message, keep: int) -> Kept:
        """
        A message as outboxes hold it that go to a group with a history.

        Args:
            keep: how many messages the history keeps, this one included; 1 to MAX_HISTORY.

        Raises:
            TypeError: something in it cannot travel; the text names the key.
            MessageTooLarge: with its place it is longer than MAX_KEPT_SIZE.
        """
        if "history" in message:  # it came out of one
            message = {key: value for key, value in message.items() if key != "history"}
        try:
            encoded = self.encode(message)
        except MessageTooLarge as error:  # of the layer, whose options would help, were it not for the history
            step = f"no option allows more in a history; send it in parts; without a history {error.limit} bytes are carried"
            raise MessageTooLarge(error.size, MAX_KEPT_SIZE, step) from None
        payload = wire.with_place(encoded, names.check_group(group), self.epoch)
        if len(payload) > MAX_KEPT_SIZE:
            step = f"no option allows more in a history; send it in parts, or to a group without one: Group({group!r})"
            raise MessageTooLarge(len(payload), MAX_KEPT_SIZE, step)
        return Kept(payload, keep)

    def group_since(self, group: str, epoch: str | None, offset: int) -> Missed:
        """
        The messages of a group's history after a place in it.

        A message is in the history before any of a front's connections gets it, and their order is that of the offsets, without
        holes. Whoever joins first and asks then gets each message, some perhaps twice.

        Args:
            epoch, offset: of the last message that is known. None and 0: nothing is; everything that is kept is returned, and
                there is a gap only if something was forgotten.
        """
        names.check_group(group)
        known = offset if epoch == self.epoch else 0
        first, last, payloads = self._read_history(group, known)
        gap = epoch not in (self.epoch, None) or not first - 1 <= known <= last
        if gap and known > last:
            first, last, payloads = self._read_history(group, 0)
        return Missed([wire.decode(payload) for payload in payloads], gap, self.epoch, last)

    @abc.abstractmethod
    def _read_history(self, group: str, after: int) -> tuple[int, int, list[bytes]]:
        """Offsets of the first and the last message that is kept (none: last + 1 and last), and all of them after an offset."""
