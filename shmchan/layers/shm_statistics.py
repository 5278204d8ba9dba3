"""
What is in a segment, counted, and looked after.

Owns nothing. It never sends or receives. ``shmchan stats``, ``shmchan doctor`` and the supervisor use it, and any application.
"""

import os
from collections.abc import Collection
from typing import Any

from shmchan._core import ffi, lib
from shmchan.layers import tally
from shmchan.layers.attachment import EMPTY, FULL, OK, Attachment, Receiver
from shmchan.layers.base import ChannelStatistics, GlobalStatistics

POLICY_NAMES = {0: "drop", 1: "notify", 2: "redeliver", 3: "dead_letter", 4: "not begun"}
CAUSES = ("full", "expired", "too_large", "gone", "crash", "flush", "memory", "bad")


class Care(Attachment):
    """The statistics of a layer, and its repair."""

    def flush(self) -> None:
        status = lib.shmc_flush(self._handle)
        if status != OK:
            self.fail(status)

    def global_statistics(self) -> GlobalStatistics:
        out = ffi.new("shmc_statistics *")
        status = lib.shmc_statistics_read(self._handle, out)
        if status != OK:
            self.fail(status)
        found: dict[str, Any] = {
            "messages_count": out.sent,
            "messages_count_per_second": out.sent_per_second,
            "messages_pending": out.pending,
            "messages_max_age": out.max_age,
            "channel_full_count": out.refused,
            "channel_full_count_per_second": out.full_per_second,
            "memory_total": out.memory_total,
            "memory_used": out.memory_used,
            "dropped": {cause: int(out.dropped[index]) for index, cause in enumerate(CAUSES)},
        }
        for key in ("delivered", "redelivered", "leased", "dead_letters"):
            found[f"messages_{key}"] = getattr(out, key)
        for key in ("groups", "members", "connections", "sessions", "outboxes", "processes", "deaths", "undone", "kills"):
            found[key] = getattr(out, key)
        return found  # type: ignore[return-value]

    def channel_statistics(self, channel: str) -> ChannelStatistics:
        out = ffi.new("shmc_channel_statistics *")
        status = lib.shmc_channel_read(self._handle, self.target(channel), out)
        if status not in (OK, EMPTY):
            self.fail(status)
        return _statistics(out)  # type: ignore[return-value]

    def all_channel_statistics(self) -> list[dict[str, Any]]:
        """`channel_statistics` of every channel that is known, each with its ``name``."""
        found: list[dict[str, Any]] = []
        cursor, count = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        out = ffi.new("shmc_channel_statistics[]", 64)
        while True:
            status = lib.shmc_channels(self._handle, cursor, 64, out, count)
            if status != OK:
                self.fail(status)
            if not count[0]:
                return found
            found += [{"name": ffi.string(row.name, row.name_length).decode(), **_statistics(row)} for row in out[0 : count[0]]]

    def front_statistics(self) -> dict[str, int]:
        return tally.read_tallies(self.folder, self.name)

    def reap(self) -> int:
        """Settle everything that dead processes owned; how many there were. Any process may do this at any time."""
        count: int = lib.shmc_reap(self._handle)
        if count < 0:
            self.fail(count)
        return count

    def check(self) -> str | None:
        """Look at every table, list and counter of the segment; what is wrong, or None. For a quiet moment."""
        text = ffi.new("char[]", 512)
        status = lib.shmc_check(self._handle, text, 512)
        if status == OK:
            return None
        if status != lib.SHMC_E_CORRUPT:
            self.fail(status)
        return ffi.string(text).decode() or "the segment is poisoned"

    def is_resting(self, channels: Collection[str]) -> bool:
        """
        Whether nothing on these channels is in anybody's hand, and nothing can be taken now.

        What waits there all the same was put back for later (`requeue` with a delay), or stands in its lane behind that.
        """
        before = self._settled(channels)
        if self._can_be_taken(channels) or any(lease["channel"] in channels for lease in self.leases()):
            return False
        # Between the two looks a message may have gone from a queue through a hand; then it was settled, which is counted.
        return self._settled(channels) == before

    def _settled(self, channels: Collection[str]) -> int:
        """How often a message of these channels has left a hand, or the queue."""
        total = 0
        for channel in channels:
            row: Any = self.channel_statistics(channel)
            total += row["messages_delivered"] + row["messages_redelivered"] + sum(row["dropped"].values())
        return total

    def _can_be_taken(self, channels: Collection[str]) -> bool:
        """Whether a receiver would find something, without taking it: it is what a bell says that is to be armed."""
        receiver = Receiver(self, [*channels])
        bell, fd = ffi.new("uint32_t *"), ffi.new("int *")
        try:
            status = lib.shmc_bell_new(self._handle, bell, fd)
            if status != OK:
                self.fail(status)
            try:
                status = lib.shmc_bell_arm(self._handle, bell[0], receiver.interest)
            finally:
                lib.shmc_bell_free(self._handle, bell[0])
                os.close(fd[0])
        finally:
            receiver.take.close()
            self.free_interest(receiver.interest)
        if status not in (OK, FULL):
            self.fail(status)
        return bool(status == FULL)

    def leases(self) -> list[dict[str, Any]]:
        """What is in hand: pid, channel, reply_channel (or ""), attempts, size (bytes), age (s), policy."""
        out, count = ffi.new("shmc_lease_info[]", 1024), ffi.new("uint32_t *")
        status = lib.shmc_leases(self._handle, 1024, out, count)
        if status != OK:
            self.fail(status)
        return [
            {
                "pid": int(row.pid),
                "channel": ffi.string(row.channel, row.channel_length).decode(),
                "reply_channel": ffi.string(row.address, row.address_length).decode(),
                "attempts": int(row.attempts),
                "size": int(row.length),
                "age": float(row.age),
                "policy": POLICY_NAMES.get(int(row.policy), "?"),
            }
            for row in out[0 : count[0]]
        ]

    def processes(self) -> list[dict[str, int]]:
        """The attached processes: slot, pid, whether they live, and what they have in hand."""
        out, count = ffi.new("shmc_process[]", 256), ffi.new("uint32_t *")
        status = lib.shmc_processes(self._handle, 256, out, count)
        if status != OK:
            self.fail(status)
        keys = ("slot", "generation", "pid", "alive", "leased", "held", "outboxes")
        return [{key: int(getattr(row, key)) for key in keys} for row in out[0 : count[0]]]


def _statistics(row: Any) -> dict[str, Any]:
    return {
        "messages_count": row.sent,
        "messages_count_per_second": row.sent_per_second,
        "messages_pending": row.pending,
        "messages_max_age": row.max_age,
        "channel_full_count": row.refused,
        "channel_full_count_per_second": row.full_per_second,
        "messages_delivered": row.delivered,
        "messages_redelivered": row.redelivered,
        "dropped": {cause: int(row.dropped[index]) for index, cause in enumerate(CAUSES)},
    }
