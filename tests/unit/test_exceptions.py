"""Exceptions: their trees, their fields, and that they survive a pickle, as multiprocessing and Celery send them."""

import copy
import pickle
from typing import Any

import pytest

from shmchan import exceptions
from shmchan.message import Message

SAMPLES = [
    exceptions.ChannelFull("a", 5),
    exceptions.ChannelFull("a"),
    exceptions.MessageTooLarge(10, 5),
    exceptions.MessageTooLarge(10, 5, "do this", "the letter"),
    exceptions.NoDelay("x"),
    exceptions.NoInstance("x"),
    exceptions.InstanceKilled("x"),
    exceptions.InstanceRunning("x"),
    exceptions.LayerClosed("x"),
    exceptions.SegmentCorrupt("x", "bad magic"),
    exceptions.SegmentVersion("x", "layout 1, not 2"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_with_their_fields(error: exceptions.ShmchanError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_every_exception_has_one_of_two_roots() -> None:
    for name in exceptions.__all__:
        assert issubclass(getattr(exceptions, name), (exceptions.ShmchanError, exceptions.ControlFlow))
    assert not issubclass(exceptions.ControlFlow, exceptions.ShmchanError)


@pytest.mark.parametrize("code", [None, 1000, 3000, 3999, 4000, 4999])
def test_an_application_may_close_with_these_codes(code: int | None) -> None:
    assert exceptions.WebsocketCloseException(code).code == code


@pytest.mark.parametrize("code", [0, 1, 999, 1001, 1006, 2999, 5000, -1, "1000", 1000.0, True])
def test_other_close_codes_are_a_value_error(code: Any) -> None:
    with pytest.raises(ValueError, match="3000 to 4999"):
        exceptions.WebsocketCloseException(code)


def test_closing_needs_a_reply_channel() -> None:
    with pytest.raises(ValueError, match="no reply_channel"):
        exceptions.WebsocketCloseException().run(Message({}, "job"))


def test_a_socket_exception_without_a_run_says_what_is_missing() -> None:
    class Mine(exceptions.ChannelSocketException):
        pass

    with pytest.raises(NotImplementedError, match="Mine must have a method run"):
        Mine().run(Message({}, "job"))
