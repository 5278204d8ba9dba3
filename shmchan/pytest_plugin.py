"""
The fixtures for pytest, which finds them by the entry point ``pytest11``.

Owns nothing that lives longer than a test. Imports nothing heavy, as every pytest run of this environment loads it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from shmchan.layers.shm import ShmChannelLayer
    from shmchan.testing.client import Client
    from shmchan.testing.live import LiveServer
    from shmchan.testing.websocket import WSClient


@pytest.fixture
def shmchan_layer() -> "Iterator[ShmChannelLayer]":
    """The default channel layer of this test, in a segment of its own."""
    from shmchan.testing.layers import own_layer

    with own_layer() as layer:
        yield layer


@pytest.fixture
def shmchan_client(shmchan_layer: "ShmChannelLayer") -> "Client":
    """A `shmchan.testing.Client` on `shmchan_layer`."""
    from shmchan.testing.client import Client

    return Client()


@pytest.fixture
def shmchan_ws_client(shmchan_layer: "ShmChannelLayer") -> "WSClient":
    """A `shmchan.testing.WSClient` on `shmchan_layer`."""
    from shmchan.testing.websocket import WSClient

    return WSClient()


@pytest.fixture
def shmchan_live_server() -> "Iterator[Callable[..., LiveServer]]":
    """Starts servers: ``shmchan_live_server("module:attribute", ...)``; arguments as of `shmchan.testing.LiveServer`."""
    from shmchan.testing.live import LiveServer

    with ExitStack() as stack:

        def start(app: str, *options: str, **given: Any) -> LiveServer:
            return stack.enter_context(LiveServer(app, *options, **given))

        yield start
