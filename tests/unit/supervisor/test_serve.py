"""What a run makes its layer with."""

import pytest

from shmchan.exceptions import MessageTooLarge
from shmchan.front.config import FrontConfig
from shmchan.layers import InMemoryChannelLayer
from shmchan.supervisor.serve import RunOptions, layer_options


def options_of(ws_max_size: int, memory: int | None = None, capacity: int | None = None) -> RunOptions:
    front = FrontConfig(ws_max_size=ws_max_size)
    return RunOptions(app="app", workers=1, memory=memory, capacity=capacity, front=front)


def test_what_was_not_given_is_the_layers_to_say() -> None:
    assert layer_options(options_of(1 << 20)) == {}
    assert layer_options(options_of(16 << 20, memory=1 << 28, capacity=5)) == {
        "memory": 1 << 28,
        "capacity": 5,
        "max_message_size": (16 << 20) + (1 << 17),
    }


def test_the_option_that_the_error_names_is_enough() -> None:
    message = {"text": "x" * (17 << 20)}
    with InMemoryChannelLayer(**layer_options(options_of(1 << 20))) as layer:
        with pytest.raises(MessageTooLarge, match=r"run with --ws-max-size 18MiB ") as caught:
            layer.send("a", message)
        assert caught.value.limit == 16 << 20
    with InMemoryChannelLayer(**layer_options(options_of(18 << 20))) as layer:
        layer.send("a", message)
        assert layer.receive(["a"])[1] == message
