"""The options of a segment: what they are by default, and that who attaches takes them or is told."""

import itertools
import os
import re
from typing import Any

import pytest

from shmchan.layers import ShmChannelLayer

numbers = itertools.count()
MEMORY = 32 << 20
THERE: dict[str, Any] = {
    "expiry": 30.0,
    "group_expiry": 600.0,
    "capacity": 7,
    "channel_capacity": {"jobs.*": 3, re.compile("^mail"): 4},
    "memory": MEMORY,
    "max_message_size": 1 << 20,
}
OTHERS: dict[str, Any] = {
    "expiry": 31.0,
    "group_expiry": 601.0,
    "capacity": 8,
    "channel_capacity": {"jobs.*": 5},
    "memory": 2 * MEMORY,
    "max_message_size": 2 << 20,
}


@pytest.fixture
def name() -> str:
    return f"test-options-{os.getpid()}-{next(numbers)}"


def test_a_segment_has_256_mebibytes_for_messages_of_16_by_default(name: str) -> None:
    with ShmChannelLayer(name) as layer:
        assert (layer.memory, layer.max_message_size) == (256 << 20, 16 << 20)
        layer.send("big", {"bytes": bytes((16 << 20) - 1000)})
        with pytest.raises(layer.MessageTooLarge, match=r"run with --ws-max-size 17MiB "):
            layer.send("big", {"bytes": bytes(16 << 20)})


def test_what_a_small_memory_carries_follows_the_memory_and_the_error_says_how_much_it_takes(name: str) -> None:
    with ShmChannelLayer(name, memory=MEMORY) as layer:
        assert layer.max_message_size == 4 << 20
        big = {"bytes": bytes(5 << 20)}
        with pytest.raises(layer.MessageTooLarge, match=r"run with --memory 48MiB ") as caught:
            layer.send("big", big)
        assert (caught.value.size > 5 << 20, caught.value.limit) == (True, 4 << 20)
        with pytest.raises(layer.MessageTooLarge, match=r"run with --ws-max-size 17MiB "):
            layer.send("big", {"bytes": bytes(16 << 20)})
    with ShmChannelLayer(name, memory=48 << 20) as layer:  # as it said
        layer.send("big", big)
        assert layer.receive(["big"])[1] == big


@pytest.mark.parametrize("option", THERE)
def test_an_option_that_differs_from_the_live_segments_is_a_value_error(name: str, option: str) -> None:
    with ShmChannelLayer(name, **THERE) as first, ShmChannelLayer(name) as second, ShmChannelLayer(name, **THERE) as third:
        for layer in (first, second, third):
            assert (layer.expiry, layer.group_expiry, layer.capacity) == (30.0, 600.0, 7)
            assert (layer.memory, layer.max_message_size) == (MEMORY, 1 << 20)
        with pytest.raises(ValueError, match=rf"^{option}=.* was given, but the live segment '{name}' has "):
            ShmChannelLayer(name, **{option: OTHERS[option]})
        second.send("still.there", {"n": 1})
        assert first.receive(["still.there"]) == ("still.there", {"n": 1})
