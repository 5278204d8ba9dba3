from collections.abc import Callable, Sequence
from typing import Any

EMPTY: int
CLOSED: int

def is_plain(message: object, /) -> bool: ...

class Taker:
    busy: bool
    def __init__(
        self,
        take: int,
        handle: int,
        interest: int,
        buffer: int,
        decode: Callable[[bytes], Any],
        channels: tuple[str, ...],
    ) -> None: ...
    def __call__(self, timeout_ns: int, /) -> tuple[str, Any] | int: ...
    def close(self) -> None: ...

class Putter:
    def __init__(self, put: int, handle: int, target: int, encode: Callable[[Any], bytes], keep: object) -> None: ...

class Exchange:
    _putters: dict[str, Putter]
    _takers: dict[str | tuple[str, ...], Taker]
    def send(self, channel: str, message: dict[str, Any]) -> None: ...
    def receive(
        self, channels: Sequence[str], block: bool = False, timeout: float | None = None
    ) -> tuple[str, dict[str, Any]] | tuple[None, None]: ...
