"""Sessions in the segment, when those who use them are killed."""

import os
import signal
from collections.abc import Callable

from shmchan._core import lib
from shmchan.layers import ShmChannelLayer
from shmchan.layers.base import MAX_SESSION_SIZE

NAME = f"sessions-{os.getpid()}"


def killed(work: Callable[[ShmChannelLayer], object]) -> None:
    """Have a process of its own do some work, and die of it."""
    child = os.fork()
    if child == 0:
        try:
            work(ShmChannelLayer.attach(NAME))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def connect(layer: ShmChannelLayer) -> None:
    """Be a front with one connection, which has a session."""
    port = layer.open_port()
    reply = port.new_reply_channel("websocket")
    port.connect(reply, {"reply_channel": reply}, {"reply_channel": reply, "code": 1006, "path": "/", "order": 0})
    layer.session_save(reply, {"n": 1})


def lease(layer: ShmChannelLayer) -> None:
    taken = layer.lease(["websocket.connect", "websocket.disconnect"], 10.0)
    assert taken is not None
    layer.set_policy(taken, "notify")


def test_a_session_outlives_its_front_and_worker_until_the_disconnect_is_settled_however() -> None:
    with ShmChannelLayer(NAME, memory=32 << 20) as layer:
        before = layer.global_statistics()["memory_used"]
        killed(connect)
        layer.reap()
        killed(lease)  # of the connect
        layer.reap()
        assert layer.global_statistics()["sessions"] == 1  # type: ignore[typeddict-item]
        killed(lease)  # of the disconnect
        layer.reap()
        assert layer.global_statistics()["sessions"] == 0  # type: ignore[typeddict-item]
        assert layer.check() is None
        assert layer.global_statistics()["memory_used"] == before


def test_both_sides_know_the_same_limit() -> None:
    assert lib.SHMC_SESSION_MAX == MAX_SESSION_SIZE


def test_one_that_is_killed_after_it_saved_leaves_what_it_saved() -> None:
    with ShmChannelLayer(NAME, memory=32 << 20) as layer:
        layer.session_save("r!x", {"n": 1})
        killed(lambda other: other.session_save("r!x", {"n": 2}))
        layer.reap()
        assert layer.session_load("r!x") == {"n": 2}
        assert layer.check() is None
