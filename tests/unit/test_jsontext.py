"""JSON from outside: a value, or a ValueError."""

from typing import Any

import pytest

from shmchan.jsontext import decode_json, encode_json

DEEP = 200_000


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[Infinity]", b"\xff", "[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP, "1" * 5000]
)
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_json(text)


def test_a_value_that_json_cannot_say_is_an_error_too() -> None:
    deep: list[Any] = []
    for _ in range(DEEP):
        deep = [deep]
    for value in (deep, float("nan")):
        with pytest.raises(ValueError, match=r"deep|JSON"):
            encode_json(value)


def test_a_value_goes_both_ways() -> None:
    value = {"a": [1, None, True, "é", {"b": 1.5}]}
    assert decode_json(encode_json(value)) == value
    assert decode_json(encode_json(value).encode("utf-16")) == value
