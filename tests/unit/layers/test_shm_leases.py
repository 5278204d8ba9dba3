"""A worker that is killed with a message in hand: before its consumer began, and after."""

import os
import signal
from collections.abc import Iterator

import pytest

from shmchan.layers.base import MAX_REDELIVERIES, Lease, Outbox, Policy
from shmchan.layers.shm import ShmChannelLayer

MEMORY = 32 << 20
REPLY = "websocket.send.a!1"


@pytest.fixture
def layer() -> Iterator[ShmChannelLayer]:
    layer = ShmChannelLayer(f"leases-{os.getpid()}", memory=MEMORY)
    yield layer
    assert layer.check() is None
    layer.close()


def killed_with(layer: ShmChannelLayer, channel: str, policy: Policy | None = None) -> None:
    """Another process takes a message in hand, says what its policy is, or does not come so far, and is killed."""
    pid = os.fork()
    if pid == 0:
        other = ShmChannelLayer.attach(layer.name)
        lease = other.lease([channel], 10)
        if lease and policy:
            other.set_policy(lease, policy)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert layer.reap() == 1


def received(text: str) -> dict[str, object]:
    return {"reply_channel": REPLY, "text": text}


def crashes(layer: ShmChannelLayer) -> int:
    """How many messages were lost with the process that had them."""
    return int(layer.global_statistics()["dropped"]["crash"])  # type: ignore[typeddict-item]


def test_what_nobody_had_begun_comes_again_in_its_place(layer: ShmChannelLayer) -> None:
    for text in "abc":
        layer.send("websocket.receive", received(text))
    killed_with(layer, "websocket.receive")
    for text in "abc":
        lease = layer.lease(["websocket.receive"], 1)
        assert lease
        assert lease.content["text"] == text
        layer.commit(lease, Outbox())
    assert crashes(layer) == 0


def test_without_a_lane_it_comes_before_what_was_sent_after_it(layer: ShmChannelLayer) -> None:
    for number in range(3):
        layer.send("jobs", {"n": number})
    killed_with(layer, "jobs")
    assert [layer.receive(["jobs"])[1] for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_what_kills_everybody_who_takes_it_is_given_up_and_its_sender_told(layer: ShmChannelLayer) -> None:
    port = layer.open_port()
    reply = port.new_reply_channel("websocket")
    port.connect(reply, {"reply_channel": reply}, {"reply_channel": reply, "code": 1006, "path": "/", "order": 0})
    for _ in range(MAX_REDELIVERIES):
        assert port.drain() == []
        killed_with(layer, "websocket.connect")
    assert port.drain() == [([reply], {"accept": False, "status": 500})]
    assert crashes(layer) == 1
    port.close()


def test_the_policy_holds_from_when_it_is_set(layer: ShmChannelLayer) -> None:
    layer.send("jobs", {"n": 1})
    killed_with(layer, "jobs", "drop")
    assert layer.receive(["jobs"]) == (None, None)
    assert crashes(layer) == 1


def test_a_message_that_was_put_back_has_no_policy_until_it_is_begun_again(layer: ShmChannelLayer) -> None:
    layer.send("jobs", {"n": 1})
    lease = layer.lease(["jobs"], 1)
    assert lease
    layer.set_policy(lease, "drop")
    layer.requeue(lease)
    killed_with(layer, "jobs")
    assert layer.receive(["jobs"]) == ("jobs", {"n": 1})


def test_only_what_was_put_back_for_later_and_what_stands_behind_it_rests(layer: ShmChannelLayer) -> None:
    def hand(channel: str) -> Lease:
        lease = layer.lease([channel], 10)
        assert lease
        return lease

    channels = ["websocket.receive", "jobs"]
    assert layer.is_resting(channels)  # nothing is there
    for text in "ab":
        layer.send_encoded("websocket.receive", layer.encode(received(text)), REPLY)
    assert not layer.is_resting(channels)  # can be taken
    first = hand("websocket.receive")
    assert not layer.is_resting(channels)  # is in hand
    layer.requeue(first, 3600.0)
    assert layer.channel_statistics("websocket.receive")["messages_pending"] == 2
    assert layer.is_resting(channels)
    layer.send("jobs", {"n": 1})
    assert not layer.is_resting(channels)
    assert layer.is_resting(["websocket.receive"])
    job = hand("jobs")
    layer.requeue(job)  # at once
    assert not layer.is_resting(channels)
    layer.commit(hand("jobs"), Outbox())
    assert layer.is_resting(channels)


def test_what_comes_after_a_settled_message_does_not_rest(layer: ShmChannelLayer) -> None:
    for text in "ab":
        layer.send_encoded("websocket.receive", layer.encode(received(text)), REPLY)
    lease = layer.lease(["websocket.receive"], 10)
    assert lease
    layer.commit(lease, Outbox())
    assert not layer.is_resting(["websocket.receive"])
