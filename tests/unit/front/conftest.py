"""The tests of the front that need a channel layer run over both."""

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


@pytest.fixture(params=["memory", "shm"])
def layer_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which layer `Server` stands on."""
    kind: str = request.param
    monkeypatch.setattr(Server, "make_layer", staticmethod(InMemoryChannelLayer if kind == "memory" else _shared))
    return kind
