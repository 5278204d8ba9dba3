"""The doctor: what it tells of a living instance, of a killed one, and of a damaged one."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shmchan.cli.doctor import doctor
from shmchan.cli.main import main
from shmchan.exceptions import InstanceKilled
from shmchan.layers import instance
from shmchan.layers.base import Policy
from shmchan.layers.shm import ShmChannelLayer

MEMORY = 32 << 20
POLICIES: dict[str, Policy] = {"jobs": "drop", "websocket.receive": "notify"}


@pytest.fixture
def name() -> Iterator[str]:
    name = f"doctor-{os.getpid()}"
    yield name
    folder = instance.base_folder()
    with instance.changing(folder, name):
        instance.remove(folder, name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(doctor, arguments, catch_exceptions=False)


def left_behind(name: str) -> int:
    """An instance whose only process was killed with three messages in hand, one of them not begun, and one waiting; its pid."""
    pid = os.fork()
    if pid == 0:
        layer = ShmChannelLayer(name, memory=MEMORY)
        layer.send("jobs", {"n": 1})
        layer.send("jobs", {"n": 2})
        layer.send("tasks", {"n": 3})
        layer.send("websocket.receive", {"reply_channel": "websocket.send.a!1", "text": "x"})
        for channel, policy in POLICIES.items():
            lease = layer.lease([channel], 1)
            assert lease
            layer.set_policy(lease, policy)
        layer.lease(["tasks"], 1)
        os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    return pid


def test_a_living_instance_is_sound(name: str) -> None:
    with ShmChannelLayer(name, memory=MEMORY) as layer:
        layer.send("jobs", {"n": 1})
        found = run("--name", name)
        assert found.exit_code == 0
        assert "is sound" in found.output
        assert "jobs" in found.output
        assert layer.receive(["jobs"]) == ("jobs", {"n": 1})


def test_what_the_killed_had_in_hand_is_told_and_nothing_is_changed(name: str) -> None:
    pid = left_behind(name)
    for _ in range(2):  # the second time it tells the same
        found = run("--name", name, "--json")
        assert found.exit_code == 0
        report = json.loads(found.output)
        assert not report["alive"]
        assert [row["leased"] for row in report["processes"] if row["pid"] == pid] == [3]
        leases = {lease["channel"]: lease for lease in report["leases"]}
        assert leases["websocket.receive"]["reply_channel"] == "websocket.send.a!1"
        assert leases["websocket.receive"]["policy"] == "notify"
        assert leases["jobs"]["policy"] == "drop"
        assert leases["tasks"]["policy"] == "not begun"
        assert {row["name"]: row["messages_pending"] for row in report["channels"]}["jobs"] == 1
    shown = run("--name", name).output
    assert f"process {pid} (dead): 3 leased" in shown
    assert "put back" in shown
    assert "--repair" in shown


def test_repair_settles_what_they_had_and_keeps_what_waits(name: str) -> None:
    left_behind(name)
    assert run("--name", name, "--repair").exit_code == 0
    report = json.loads(run("--name", name, "--json").output)
    assert report["leases"] == []
    assert report["global"]["dropped"]["crash"] == 2
    with ShmChannelLayer(name) as layer:
        assert layer.receive(["jobs"]) == ("jobs", {"n": 2})
        assert layer.receive(["tasks"]) == ("tasks", {"n": 3})  # whom nobody had begun


def test_nobody_attaches_to_what_killed_processes_left_so_that_the_next_run_finds_it(name: str) -> None:
    left_behind(name)
    with pytest.raises(InstanceKilled, match=f"were killed.*shmchan doctor --name {name}"):
        ShmChannelLayer.attach(name)
    with ShmChannelLayer(name) as layer:
        assert layer.receive(["jobs"]) == ("jobs", {"n": 2})


@pytest.mark.parametrize("arguments", [("stats",), ("send", "jobs", "{}"), ("group", "all"), ("worker", "shmchan.examples.echo")])
def test_commands_say_that_an_instance_was_killed_and_what_to_ask(
    name: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(name)
    assert main([*arguments, "--name", name]) == 2
    said = capsys.readouterr().err
    assert f"instance '{name}' were killed; see what they left (shmchan doctor --name {name})" in said
    assert said.count("\n") == 1
    assert main(["doctor", "--name", name]) == 0
    assert "this is what killed ones left" in capsys.readouterr().out


def test_damage_is_told_with_exit_code_1(name: str) -> None:
    left_behind(name)
    path = Path(instance.segment_path(instance.base_folder(), name))
    with ShmChannelLayer.examine(name) as layer:
        assert layer.check() is None
    data = bytearray(path.read_bytes())
    at = data.index(b"jobs\0\0")
    data[at : at + 4] = b"JOBS"  # a channel that is no longer found by its name
    path.write_bytes(data)
    found = run("--name", name)
    assert found.exit_code == 1
    assert "DAMAGED: channel" in found.output
