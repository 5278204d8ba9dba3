"""
Channel layers: what messages go through, between processes (`ShmChannelLayer`) or within one (`InMemoryChannelLayer`).

Both are imported when first asked for: the one in shared memory loads a C module, which who uses the other does not need.
"""

import importlib
from typing import TYPE_CHECKING, Any

from shmchan.layers.base import BaseChannelLayer

if TYPE_CHECKING:
    from shmchan.layers.memory import InMemoryChannelLayer
    from shmchan.layers.shm import ShmChannelLayer

__all__ = ["BaseChannelLayer", "InMemoryChannelLayer", "ShmChannelLayer"]
_HOMES = {"InMemoryChannelLayer": "shmchan.layers.memory", "ShmChannelLayer": "shmchan.layers.shm"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
