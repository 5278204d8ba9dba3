"""Signals: who is called, and that a broken receiver breaks nothing."""

import logging
from typing import Any

import pytest

from shmchan.signals import Signal


def test_receivers_get_the_sender_and_keyword_arguments_in_order() -> None:
    signal, calls = Signal("test"), []
    signal.connect(lambda **kwargs: calls.append((1, kwargs)))
    signal.connect(lambda sender, **kwargs: calls.append((2, sender)))
    signal.send("me", n=5)
    assert calls == [(1, {"sender": "me", "n": 5}), (2, "me")]


def test_a_receiver_may_want_one_sender_only() -> None:
    signal, senders = Signal("test"), []
    mine = object()
    signal.connect(lambda sender: senders.append(sender), sender=mine)
    signal.send(mine)
    signal.send(object())
    assert senders == [mine]


def test_connecting_twice_is_connecting_once_and_disconnecting_ends_it() -> None:
    signal, calls = Signal("test"), []

    def receiver(sender: object) -> None:
        calls.append(sender)

    assert signal.connect(receiver) is receiver
    signal.connect(receiver)
    signal.send(1)
    assert signal.disconnect(receiver)
    assert not signal.disconnect(receiver)
    signal.send(2)
    assert calls == [1]


def test_a_receiver_that_fails_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    signal, calls = Signal("test"), []

    def broken(**kwargs: Any) -> None:
        raise RuntimeError("broken receiver")

    signal.connect(broken)
    signal.connect(lambda sender: calls.append(sender))
    with caplog.at_level(logging.ERROR, "shmchan.worker"):
        signal.send("me")
    assert calls == ["me"]
    assert "broken receiver" in caplog.text


def test_a_receiver_must_be_callable() -> None:
    wrong: Any = "name"
    with pytest.raises(TypeError, match="callable"):
        Signal("test").connect(wrong)
