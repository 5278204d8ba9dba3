"""A delay process without a process: its service on the layer in memory, with clocks that a test sets."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shmchan.delay.heap import Heap
from shmchan.delay.service import Service
from shmchan.layers.delay_port import MemoryDelayPort
from shmchan.layers.memory import InMemoryChannelLayer

SECOND = 1_000_000
START = 1_700_000_000 * SECOND


class FakeSource:
    """Clocks that stand still until a test moves them, or somebody waits for a time."""

    def __init__(self, wall: int = START, boot: int = 1000 * SECOND, name: str = "first") -> None:
        self._wall, self._boot, self._name = wall, boot, name
        self.waits: list[tuple[int | None, int | None]] = []

    def wall(self) -> int:
        return self._wall

    def boot(self) -> int:
        return self._boot

    def boot_id(self) -> str:
        return self._name

    def pass_by(self, seconds: float) -> None:
        """Time passes, on both."""
        self._wall += round(seconds * SECOND)
        self._boot += round(seconds * SECOND)

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the clock: this much further, or back."""
        self._wall += round(seconds * SECOND)

    def wait(self, fds: Iterable[int], wall: int | None, boot: int | None, seconds: float | None = None) -> None:
        self.waits.append((wall, boot))
        ahead = [due - now for due, now in ((wall, self._wall), (boot, self._boot)) if due is not None]
        if ahead:
            self.pass_by(max(0, min(ahead)) / SECOND)

    def close(self) -> None:
        """It has nothing open."""


class Delay:
    """A layer and its delay process, one step at a time."""

    def __init__(self, path: Path | None = None, source: FakeSource | None = None, **options: Any) -> None:
        self.source = source or FakeSource()
        self.layer = InMemoryChannelLayer(**options)
        self.path = path
        self.open()

    def open(self) -> None:
        self.heap = Heap(self.path)
        self.port = MemoryDelayPort(self.layer)
        self.service = Service(self.heap, self.port, self.source)
        self.service.start()

    def send(self, content: dict[str, Any], channel: str = "a", **when: Any) -> None:
        """What `Channel("asgi.delay").send` does."""
        self.layer.send("asgi.delay", {"channel": channel, "content": content, **when})

    def came(self, channel: str = "a") -> list[dict[str, Any]]:
        """What is there, after the service has done all it can do now."""
        found = []
        while self.service.step():
            pass
        while (message := self.layer.receive([channel])[1]) is not None:
            found.append(message)
        return found

    def after(self, seconds: float, channel: str = "a") -> list[dict[str, Any]]:
        """What is there when so much time has passed."""
        self.source.pass_by(seconds)
        return self.came(channel)

    def close(self) -> None:
        self.service.close()
        self.port.close()
        self.heap.close()

    def __enter__(self) -> "Delay":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        self.layer.close()
