"""Names: what is allowed, and that a refusal says so."""

from typing import Any

import pytest

from shmchan import names


@pytest.mark.parametrize("name", ["a", "a.b-c_D9", "a?", "a!", "a?b", "a!b", "a" * 100])
def test_allowed_channel_names_are_returned(name: str) -> None:
    assert names.check_channel(name) == name


@pytest.mark.parametrize("name", ["", "?", "!x", "a b", "a\n", "a?b?c", "a!b?c", "ä", "a" * 101, None, 1, b"a"])
def test_a_refused_channel_name_is_quoted_and_the_rule_named(name: Any) -> None:
    with pytest.raises(TypeError, match="ASCII letters, digits") as caught:
        names.check_channel(name)
    assert repr(name)[:100] in str(caught.value)


def test_the_text_of_a_refusal_stays_short() -> None:
    with pytest.raises(TypeError) as caught:
        names.check_group("x" * 100_000)
    assert len(str(caught.value)) < 400


def test_a_local_channel_is_received_by_its_prefix() -> None:
    assert names.check_receivable("reply!") == "reply!"
    assert names.check_receivable("one?x") == "one?x"
    with pytest.raises(TypeError, match="'reply!x' is process-local: receive 'reply!'"):
        names.check_receivable("reply!x")


def test_lists_and_tuples_of_names_can_be_received_on() -> None:
    assert names.check_receivables(["a", "b!"]) == ["a", "b!"]
    assert names.check_receivables(("a",)) == ["a"]


def test_groups_have_neither_kind_of_mark() -> None:
    assert names.check_group("a.b") == "a.b"
    for name in ("a?", "a!b"):
        with pytest.raises(TypeError, match="without"):
            names.check_group(name)


def test_the_queue_of_a_local_channel_is_its_prefix() -> None:
    assert names.local_prefix("a!b") == "a!"
    assert names.local_prefix("a!") == "a!"
    assert names.local_prefix("a?b") == "a?b"
    assert names.is_local("a!b")
    assert not names.is_local("a?b")
