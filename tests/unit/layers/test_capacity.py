"""Capacities: the first pattern wins, and what is asked often is remembered within bounds."""

import re
from typing import Any

import pytest

from shmchan.layers import capacity
from shmchan.layers.capacity import Capacities


def test_patterns_are_tried_in_their_order() -> None:
    capacities = Capacities(7, {"a.*": 1, re.compile("a"): 2, "*": 3})
    assert [capacities.of(name) for name in ("a.b", "ab", "b", "a.b")] == [1, 2, 3, 1]


def test_local_queues_have_a_default_of_their_own() -> None:
    assert Capacities(7).of("reply!") == capacity.DEFAULT_LOCAL_CAPACITY
    assert Capacities(7, {"reply!*": 5}).of("reply!") == 5
    assert Capacities(7).of("reply") == 7


def test_few_pieces_of_a_body_wait_unless_a_pattern_says_otherwise() -> None:
    assert Capacities(100).of("http.request.body?x") == capacity.BODY_CAPACITY
    assert Capacities(5).of("http.request.body?x") == 5
    assert Capacities(100, {"http.request.body?*": 50}).of("http.request.body?x") == 50


def test_what_is_remembered_is_bounded() -> None:
    capacities = Capacities(7)
    for number in range(25_000):
        assert capacities.of(f"one?{number}") == 7
    assert len(capacities._known) <= 10_000


@pytest.mark.parametrize(
    ("options", "error"), [((0,), ValueError), (("5",), TypeError), ((5, {"a": 0}), ValueError), ((True,), TypeError)]
)
def test_numbers_are_at_least_one(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="capacity"):
        Capacities(*options)
