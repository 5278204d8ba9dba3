"""Every test of the front runs over both channel layers."""

import itertools
import os
from typing import Any

import pytest

from shmchan.layers.memory import InMemoryChannelLayer
from shmchan.layers.shm import ShmChannelLayer

from .harness import Server

_serial = itertools.count()


def _shared(**options: Any) -> ShmChannelLayer:
    return ShmChannelLayer(name=f"front-{os.getpid()}-{next(_serial)}", memory=64 << 20, **options)


@pytest.fixture(params=["memory", "shm"], autouse=True)
def layer_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which layer `Server` stands on; a test that needs none runs twice, which costs nothing."""
    kind: str = request.param
    monkeypatch.setattr(Server, "make_layer", staticmethod(InMemoryChannelLayer if kind == "memory" else _shared))
    return kind
