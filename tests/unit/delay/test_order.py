"""Messages on ``asgi.delay`` that no layer of ours has encoded: bad ones like any other."""

import re

import msgspec
import pytest

from shmchan.delay.heap import STEADY, Row
from shmchan.delay.order import BadMessage, parse
from shmchan.delay.service import dead_letter, scheduled

DEEP = b"\x91" * 200_000 + b"\xc0"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "it is no message"),
        (b"\xc1", "it is no message"),
        (msgspec.msgpack.encode([1]), "a message is a dict, this is a list"),
        (msgspec.msgpack.encode({1: 2}), "its keys are str"),
        (b"\x82\xa7channel\x01\xa1x\xa1\xff", "it is no message"),
        (b"\x82\xa7channel\xa1a\xa7content\x81\xa1a" + DEEP, "it is nested too deep"),
        (b"\x82\xa7channel\x05\xa1x" + DEEP, "it is nested too deep"),
    ],
    ids=["empty", "malformed", "list", "keys", "no UTF-8", "deep content", "deep elsewhere"],
)
def test_bytes_that_are_no_message_are_a_bad_one(payload: bytes, reason: str) -> None:
    with pytest.raises(BadMessage, match=re.escape(reason)) as caught:
        parse(payload)
    assert caught.value.channel is None


def test_content_that_nobody_can_read_is_told_of_without_it_and_goes_out_as_it_is() -> None:
    row = Row(1, "x", "a", b"\x81\xa1a\xa1\xff", STEADY, 0, None, 3, None)
    assert scheduled(row, 0).content is None
    letter = msgspec.msgpack.decode(dead_letter(row), type=dict[str, msgspec.Raw])
    assert bytes(letter["content"]) == row.content
