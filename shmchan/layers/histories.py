"""
The histories of groups in an in-memory layer: the last messages of each, for those who were away.

Owns their offsets and what they may take of the memory. It never locks and never delivers: the layer holds its lock around every
call. A process that runs on that layer has one.
"""

from collections import OrderedDict, deque

from shmchan.layers import wire
from shmchan.layers.memories import Kept


class _History:
    __slots__ = ("bytes", "messages", "offset")

    def __init__(self, offset: int) -> None:
        self.messages: deque[bytes] = deque()
        self.offset = offset
        self.bytes = 0

    def forget(self) -> int:
        size = len(self.messages.popleft())
        self.bytes -= size
        return size


class Histories:
    """
    All histories of one layer. One takes at most a sixteenth of the memory, all together a quarter.

    Args:
        memory: bytes of the layer.

    Attributes:
        used: bytes of the messages that are kept.
    """

    def __init__(self, memory: int) -> None:
        self.used = 0
        self._memory = memory
        self._base = 0  # the last offset of any history that ended: offsets never come again
        self._histories: OrderedDict[str, _History] = OrderedDict()  # silent for longest first

    def keep(self, group: str, payload: Kept) -> bytes:
        """Keep a message, and forget others for it. Returns it with its offset."""
        history = self._histories.get(group)
        if history is None:
            history = self._histories[group] = _History(self._base)
        self._histories.move_to_end(group)
        while history.messages and (len(history.messages) >= payload.keep or history.bytes + len(payload) > self._memory // 16):
            self.used -= history.forget()
        while self.used and self.used + len(payload) > self._memory // 4:
            self._forget_oldest()
        history.offset += 1
        placed = wire.placed(payload, history.offset)
        history.messages.append(placed)
        history.bytes += len(placed)
        self.used += len(placed)
        return placed

    def read(self, group: str, after: int) -> tuple[int, int, list[bytes]]:
        """Offsets of the first and last message of a group (none: last + 1 and last), and those after an offset."""
        history = self._histories.get(group)
        if history is None:
            return self._base + 1, self._base, []
        first = history.offset + 1 - len(history.messages)
        return first, history.offset, [*history.messages][max(0, after + 1 - first) :]

    def clear(self) -> None:
        """Forget everything."""
        while self._histories:
            _, history = self._histories.popitem()
            self._base = max(self._base, history.offset)
        self.used = 0

    def _forget_oldest(self) -> None:
        group, history = next(iter(self._histories.items()))
        if history.messages:
            self.used -= history.forget()
        else:
            del self._histories[group]
            self._base = max(self._base, history.offset)
