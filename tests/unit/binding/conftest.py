"""Empty tables for each test, and a layer with listeners in every group."""

from collections.abc import Iterator

import pytest

from shmchan.layers.shm import ShmChannelLayer
from tests.unit.binding.models import Base, engine, join


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    Base.metadata.create_all(engine)
    yield
    Base.metadata.drop_all(engine)


@pytest.fixture
def layer(shmchan_layer: ShmChannelLayer) -> ShmChannelLayer:
    join(shmchan_layer, "admins", "others", "things", "board-one", "board-two")
    return shmchan_layer
