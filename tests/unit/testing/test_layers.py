"""Where a test's messages go: never to an instance that runs, whatever the process had attached to before."""

import itertools
import os
import unittest
from collections.abc import Callable, Iterator

import pytest

from shmchan import Channel, Group, Message, channel_layers, route
from shmchan.layers import ShmChannelLayer
from shmchan.sessions.store import settings
from shmchan.testing import ChannelTestCase, Client, WSClient, apply_routes, own_layer

numbers = itertools.count()


def work(message: Message) -> int:
    return int(message["n"])


ROUTES = [route("jobs", work)]


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[ShmChannelLayer]:
    """A running instance that this process has attached to, by using a group."""
    before = channel_layers.set("default", None)
    with ShmChannelLayer(name=f"test-live-{os.getpid()}-{next(numbers)}", memory=32 << 20) as layer:
        monkeypatch.setenv("SHMCHAN_NAME", layer.name)
        Group("x").send({"text": "hi"})
        attached = channel_layers["default"]
        assert attached.name == layer.name
        yield layer
        assert channel_layers["default"] is attached, "the former one was not put back"
        assert layer.channel_statistics("jobs")["messages_count"] == 0, "a message of the test reached the live instance"
        channel_layers.set("default", before)
        attached.close()


def with_routes() -> None:
    @apply_routes(ROUTES)
    def test() -> None:
        assert Client().send_and_consume("jobs", {"n": 1}) == 1

    test()
    test()


def with_routes_in_a_layer_of_its_own() -> None:
    with own_layer():
        with_routes()
    with_routes()


def with_a_case() -> None:
    class Case(ChannelTestCase):
        def test(self) -> None:
            Channel("jobs").send({"n": 1})
            assert self.get_next_message("jobs", require=True) is not None

    result = unittest.TestResult()
    Case("test").run(result)
    assert result.testsRun == 1
    assert result.wasSuccessful(), result.failures + result.errors


@pytest.mark.parametrize("test", [with_routes, with_routes_in_a_layer_of_its_own, with_a_case])
def test_a_live_instance_gets_nothing_of_a_test_and_is_put_back(live: ShmChannelLayer, test: Callable[[], None]) -> None:
    test()


def test_nor_does_it_from_the_fixtures(live: ShmChannelLayer, shmchan_client: Client) -> None:
    assert channel_layers["default"].name != live.name
    shmchan_client.channel_layer.send("jobs", {"n": 1})
    assert shmchan_client.get_next_message("jobs", require=True) is not None


@pytest.mark.parametrize("make", [Client, WSClient])
def test_nor_from_a_client_without_routes(live: ShmChannelLayer, make: Callable[[], Client]) -> None:
    attached, engine = channel_layers["default"], settings.engine
    client = make()
    try:
        client.channel_layer.send("jobs", {"n": 1})
        assert client.get_next_message("jobs", require=True) is not None
    finally:
        channel_layers.set("default", attached)  # a client's own layer stays until the process ends
        settings.engine = engine
