"""
Which layers the suite runs over, and how each test gets a fresh one.

To add an implementation is one line in IMPLEMENTATIONS.
"""

import importlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shmchan.layers.base import BaseChannelLayer

IMPLEMENTATIONS = {
    "memory": "shmchan.layers.memory:InMemoryChannelLayer",
    "shm": "shmchan.layers.shm:ShmChannelLayer",
}
MEMORY = 32 << 20
WATCHDOG = 30.0
numbers = itertools.count()
MakeLayer = Callable[..., BaseChannelLayer]


def new_layer(implementation: str, **options: Any) -> BaseChannelLayer:
    """A layer under a name that nobody has."""
    module, _, name = IMPLEMENTATIONS[implementation].partition(":")
    layer = getattr(importlib.import_module(module), name)
    made: BaseChannelLayer = layer(name=f"conformance-{os.getpid()}-{next(numbers)}", **{"memory": MEMORY, **options})
    return made


@pytest.fixture(params=list(IMPLEMENTATIONS))
def implementation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make_layer(implementation: str) -> Iterator[MakeLayer]:
    """Layers with options of the test's own, closed at its end."""
    made: list[BaseChannelLayer] = []

    def make(**options: Any) -> BaseChannelLayer:
        made.append(new_layer(implementation, **options))
        return made[-1]

    yield make
    for layer in made:
        layer.close()


@pytest.fixture
def unmanaged_layer(implementation: str) -> MakeLayer:
    """How to make layers that the test closes itself."""
    return lambda **options: new_layer(implementation, **options)


@pytest.fixture
def layer(make_layer: MakeLayer) -> BaseChannelLayer:
    return make_layer()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Ask again and again until the answer is true."""

    def ask(question: Callable[[], Any]) -> Any:
        end = time.monotonic() + WATCHDOG
        while not (answer := question()):
            assert time.monotonic() < end, "the watchdog barked"
            time.sleep(0.005)
        return answer

    return ask
