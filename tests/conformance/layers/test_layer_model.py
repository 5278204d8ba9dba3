"""
Any sequence of operations does to a layer what it does to a plain model of one, driven by Hypothesis.

The model is the reference for order, capacity, groups and lanes; what it leaves out (waiting, expiry, ports) has its own tests.
"""

import itertools
from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from shmchan.layers.base import BaseChannelLayer, Lease, Outbox

CAPACITY = 3
WEBSOCKET = ["websocket.connect", "websocket.receive"]
PLAIN = ["a", "b", "one?x"]
LOCAL = ["reply!x", "reply!y", "other!x"]
KEYS = ["reply!x", "reply!y"]
READABLE = [*PLAIN, "reply!", "other!"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


class LayerMachine(RuleBasedStateMachine):
    """One layer beside a model: queues by prefix for what has no lane, one queue by connection for what has."""

    new_layer: Any = None  # how one is made; set by the test
    leases = Bundle("leases")

    @initialize()
    def begin(self) -> None:
        self.layer: BaseChannelLayer = self.new_layer(capacity=CAPACITY, memory=16 << 20)
        self.queues: dict[str, deque[tuple[str, Any]]] = {name: deque() for name in READABLE}
        self.lanes: dict[str, deque[tuple[str, Any]]] = {key: deque() for key in KEYS}
        self.busy: set[str] = set()
        self.serial = itertools.count()
        self.groups: dict[str, set[str]] = {"g": set(), "h": set()}

    # --- what the model says

    def full(self, channel: str) -> bool:
        if channel in WEBSOCKET:
            return sum(name == channel for lane in self.lanes.values() for name, _ in lane) >= CAPACITY
        return sum(name == channel for name, _ in self.queue(channel)) >= CAPACITY

    def queue(self, channel: str) -> deque[tuple[str, Any]]:
        return self.queues[channel.split("!")[0] + "!" if "!" in channel else channel]

    # --- what is done to both

    @rule(channel=st.sampled_from(PLAIN + LOCAL), value=VALUES)
    def send(self, channel: str, value: Any) -> None:
        full = self.full(channel)
        try:
            self.layer.send(channel, {"value": value})
        except self.layer.ChannelFull:
            assert full
        else:
            assert not full
            self.queue(channel).append((channel, value))

    @rule(channel=st.sampled_from(WEBSOCKET), key=st.sampled_from(KEYS), count=st.integers(1, 3))
    def send_keyed(self, channel: str, key: str, count: int) -> None:
        for _ in range(count):
            full = self.full(channel)
            value = next(self.serial)
            try:
                self.layer.send(channel, {"reply_channel": key, "value": value})
            except self.layer.ChannelFull:
                assert full
            else:
                assert not full
                self.lanes[key].append((channel, value))

    @rule(channels=st.lists(st.sampled_from(READABLE), min_size=1, max_size=4, unique=True))
    def receive(self, channels: list[str]) -> None:
        channel, message = self.layer.receive(channels)
        if channel is None:
            assert not any(self.queues[name] for name in channels)
            return
        assert message is not None
        assert channel.partition("!")[0] in [name.rstrip("!") for name in channels]
        assert self.queue(channel).popleft() == (channel, message["value"])

    @rule(target=leases, channels=st.sampled_from([WEBSOCKET, WEBSOCKET, *([name] for name in WEBSOCKET)]))
    def lease(self, channels: list[str]) -> Any:
        lease = self.layer.lease(channels, 0)
        heads = {key: lane[0] for key, lane in self.lanes.items() if lane and key not in self.busy and lane[0][0] in channels}
        if lease is None:
            assert not heads
            return multiple()
        key = lease.content["reply_channel"]
        assert heads[key] == (lease.channel, lease.content["value"])
        self.lanes[key].popleft()
        self.busy.add(key)
        return lease

    @rule(lease=consumes(leases), channel=st.sampled_from(PLAIN + LOCAL), count=st.integers(0, 5))
    def commit(self, lease: Lease, channel: str, count: int) -> None:
        group = count == 5
        count = 0 if group else count
        outbox = Outbox()
        for number in range(count):
            outbox.channel(channel, self.layer.encode({"value": number}))
        if group:
            outbox.group("g", self.layer.encode({"value": "g"}))
            for member in self.groups["g"]:  # whether a full one is skipped at once or owed for a while is not the model's
                while self.full(member):
                    self.receive([self.queue_name(member)])
        parked = self.layer.commit(lease, outbox)
        for number in range(count):
            while self.full(channel):
                assert parked is not None
                assert not self.layer.push(parked)
                self.receive([self.queue_name(channel)])
                self.layer.push(parked)
            self.queue(channel).append((channel, number))
        if parked is not None:
            assert self.layer.push(parked)
            assert parked.dropped == {}
        if group:
            self.deliver("g", "g")
        self.busy.discard(lease.content["reply_channel"])

    @rule(lease=consumes(leases))
    def requeue(self, lease: Lease) -> None:
        self.layer.requeue(lease)
        key = lease.content["reply_channel"]
        self.lanes[key].appendleft((lease.channel, lease.content["value"]))
        self.busy.discard(key)

    @rule(group=st.sampled_from(["g", "h"]), channel=st.sampled_from(PLAIN + LOCAL))
    def group_add(self, group: str, channel: str) -> None:
        self.layer.group_add(group, channel)
        self.groups[group].add(channel)

    @rule(group=st.sampled_from(["g", "h"]), channel=st.sampled_from(PLAIN + LOCAL))
    def group_discard(self, group: str, channel: str) -> None:
        self.layer.group_discard(group, channel)
        self.groups[group].discard(channel)

    @rule(group=st.sampled_from(["g", "h"]), value=VALUES)
    def send_group(self, group: str, value: Any) -> None:
        self.layer.send_group(group, {"value": value})
        self.deliver(group, value)

    @rule()
    def flush(self) -> None:
        self.layer.flush()
        for queue in (*self.queues.values(), *self.lanes.values()):
            queue.clear()
        for members in self.groups.values():
            members.clear()

    @invariant()
    def members_and_counts_agree(self) -> None:
        if not hasattr(self, "layer"):
            return
        for group, members in self.groups.items():
            assert sorted(self.layer.group_channels(group)) == sorted(members)
        waiting = sum(map(len, self.queues.values())) + sum(map(len, self.lanes.values()))
        assert self.layer.global_statistics()["messages_pending"] == waiting

    def deliver(self, group: str, value: Any) -> None:
        for channel in self.layer.group_channels(group):  # in what order the members get it is for the layer to say
            if not self.full(channel):
                self.queue(channel).append((channel, value))

    def queue_name(self, channel: str) -> str:
        return channel.split("!")[0] + "!" if "!" in channel else channel

    def teardown(self) -> None:
        if hasattr(self, "layer"):
            self.layer.close()


@pytest.mark.timeout(120)
def test_a_layer_does_what_its_model_does(unmanaged_layer: Any) -> None:
    machine = type("Machine", (LayerMachine,), {"new_layer": staticmethod(unmanaged_layer)})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
