"""
What a front refused, dropped or ignored, by reason, and how much it served.

Owns the names, so that no drop is silent. Never logs and never decides; where the numbers are is the layer's. Runs in the front.
"""

# Every reason that exists, in the order in which they are shown. A name that is not here is a spelling mistake, and raises.
NAMES = (
    "connections",
    "requests",
    "static",  # those of them that ask for a file which the front serves by itself
    "websockets",
    "received",  # WebSocket messages from clients
    "sent",  # messages of the application that went out
    "refused.malformed",  # the client broke a rule of HTTP
    "refused.handshake",  # no valid WebSocket handshake
    "refused.origin",  # a foreign page's WebSocket
    "refused.full",  # 503, because http.request or websocket.connect was full
    "refused.stopping",
    "timeout.http",
    "timeout.handshake",
    "timeout.websocket",
    "timeout.events",  # streams of events that have lasted long enough
    "timeout.receive",  # websocket.receive or a body's channel stayed full
    "timeout.write",  # a client that takes nothing
    "cut.buffered",  # a client for whom too much waits
    "cut.response",  # responses that failed after they had begun
    "cut.changed",  # a file that was written to, or could not be read any more, while it was sent
    "cut.stopping",  # not done when the graceful timeout was over
    "dropped.receive",  # messages of clients
    "dropped.disconnect",  # http.disconnect was full
    "dropped.gone",  # messages of the application for who is no longer there
    "dropped.rejected",  # a group's messages for a socket that was then rejected
    "ignored.key",  # keys that mean nothing
    "ignored.value",  # keys of the wrong kind
    "ignored.undecided",  # answers to a handshake that neither accept nor reject
    "ignored.both",  # text and bytes in one message
    "bad.event",  # events that cannot be sent
    "bad.response",  # answers that cannot be sent
    "errors",  # bugs: set aside with a traceback
)

_PLACES = {name: place for place, name in enumerate(NAMES)}


class Counters:
    """
    Counts by name; ``snapshot`` is what is logged in the end.

    Args:
        counts: of `Port.counts` for `NAMES`; what is in there already was counted by an earlier front.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: memoryview) -> None:
        self._counts = counts

    def add(self, name: str, count: int = 1) -> None:
        """Count something that is in `NAMES`, else KeyError. It is an addition in memory, no call of the kernel or the layer."""
        self._counts[_PLACES[name]] += count

    def __getitem__(self, name: str) -> int:
        return self._counts[_PLACES[name]]

    def snapshot(self) -> dict[str, int]:
        """Everything that happened at least once, here or in a front before this one."""
        return {name: count for name, count in zip(NAMES, self._counts.tolist(), strict=True) if count}
