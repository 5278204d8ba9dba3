"""The layers of a process: found by name, attached to when needed, and never inherited by a child."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shmchan import Channel, Group, get_channel_layer
from shmchan.asgi import ChannelLayerManager, channel_layers
from shmchan.exceptions import NoInstance
from shmchan.layers import InMemoryChannelLayer, ShmChannelLayer, instance

numbers = itertools.count()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[ShmChannelLayer]:
    """A running instance that this process would attach to by default."""
    before = channel_layers.set("default", None)
    with ShmChannelLayer(name=f"test-asgi-{os.getpid()}-{next(numbers)}", memory=32 << 20) as layer:
        monkeypatch.setenv("SHMCHAN_NAME", layer.name)
        yield layer
        attached = channel_layers.set("default", before)
        if attached is not None:
            attached.close()
    assert not (instance.base_folder() / layer.name).exists(), "the last one to leave left the segment behind"


def test_any_process_talks_to_the_instance_by_its_name_alone(running: ShmChannelLayer) -> None:
    Group("g").add("b")
    Channel("a").send({"n": 1})
    Group("g").send({"n": 2})
    assert (running.receive(["a"]), running.receive(["b"])) == (("a", {"n": 1}), ("b", {"n": 2}))
    assert get_channel_layer() is get_channel_layer()
    assert get_channel_layer().name == running.name


def test_an_alias_is_the_name_of_another_instance(running: ShmChannelLayer) -> None:
    layers = ChannelLayerManager()
    try:
        Channel("a", channel_layer=layers[running.name]).send({"n": 1})
        assert running.receive(["a"]) == ("a", {"n": 1})
    finally:
        attached = layers.set(running.name, None)
        assert attached is not None
        attached.close()


def test_without_an_instance_one_is_told_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = channel_layers.set("default", None)
    monkeypatch.setenv("SHMCHAN_NAME", f"nobody-{os.getpid()}")
    try:
        with pytest.raises(NoInstance, match="shmchan run"):
            Channel("a").send({})
    finally:
        channel_layers.set("default", before)


def test_a_forked_child_attaches_for_itself(running: ShmChannelLayer) -> None:
    Channel("a").send({"from": "parent"})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            Channel("a").send({"from": "child"})
            channel_layers["default"].close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [running.receive(["a"])[1] for _ in range(2)] == [{"from": "parent"}, {"from": "child"}]


def test_what_was_set_by_hand_stays_when_attachments_are_forgotten() -> None:
    layers = ChannelLayerManager()
    with InMemoryChannelLayer() as layer:
        assert layers.set("mine", layer) is None
        layers.forget_attached()
        assert layers["mine"] is layer


def test_what_was_attached_to_stays_so_when_it_is_put_back(running: ShmChannelLayer) -> None:
    attached = channel_layers["default"]
    with InMemoryChannelLayer() as layer:
        assert channel_layers.set("default", layer) is attached
        assert not channel_layers.is_attached("default")
        channel_layers.set("default", attached)
    assert channel_layers.is_attached("default")
    assert not channel_layers.is_attached("nobody's")


@pytest.mark.parametrize("alias", [True, False])
def test_a_process_that_ends_normally_has_left_and_not_died(running: ShmChannelLayer, alias: bool) -> None:
    name = f", alias={running.name!r}" if alias else ""
    code = (
        "import atexit, os\n"
        "from shmchan import Channel\n"
        f"atexit.register(lambda: Channel('a'{name}).send({{'n': 2}}))\n"
        f"Channel('a'{name}).send({{'n': 1}})\n"
        "child = os.fork()\n"
        "if child: assert os.waitpid(child, 0)[1] == 0"  # the child ends normally, too, and leaves what is its parent's alone
    )
    ended = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [running.receive(["a"])[1] for _ in range(3)] == [{"n": 1}, {"n": 2}, {"n": 2}]
    running.reap()
    statistics: dict[str, object] = dict(running.global_statistics())
    assert statistics["deaths"] == 0
    assert [row["pid"] for row in running.processes()] == [os.getpid()]
