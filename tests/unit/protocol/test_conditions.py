"""Conditional requests: RFC 9110, section 13."""

import random

import pytest

from shmchan.protocol.conditions import Validators, accepted_codings, field, precondition, range_allowed

STRONG = Validators(b'"a"', 784111777)
WEAK = Validators(b'W/"a"', 784111777)
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
LATER = b"Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    ("headers", "strong", "weak"),
    [
        ([], None, None),
        ([[b"if-none-match", b'"a"']], 304, 304),
        ([[b"if-none-match", b'W/"a"']], 304, 304),
        ([[b"if-none-match", b'"b", "c,d" ,W/"a"']], 304, 304),
        ([[b"if-none-match", b'"b"'], [b"if-none-match", b'"a"']], 304, 304),
        ([[b"if-none-match", b"*"]], 304, 304),
        ([[b"if-none-match", b'"b"']], None, None),
        ([[b"if-none-match", b"a"]], None, None),
        ([[b"if-none-match", b'"b" "a"']], None, None),
        ([[b"if-none-match", b""]], None, None),
        ([[b"if-match", b'"a"']], None, 412),
        ([[b"if-match", b"*"]], None, None),
        ([[b"if-match", b'W/"a"']], 412, 412),
        ([[b"if-match", b'"b"']], 412, 412),
        ([[b"if-modified-since", DATE]], 304, 304),
        ([[b"if-modified-since", LATER]], 304, 304),
        ([[b"if-modified-since", EARLIER]], None, None),
        ([[b"if-modified-since", b"Sunday, 06-Nov-94 08:49:37 GMT"]], 304, 304),
        ([[b"if-modified-since", b"Sun Nov  6 08:49:37 1994"]], 304, 304),
        ([[b"if-modified-since", b"yesterday"]], None, None),
        ([[b"if-unmodified-since", DATE]], None, None),
        ([[b"if-unmodified-since", EARLIER]], 412, 412),
        ([[b"if-unmodified-since", b"\xff"]], None, None),
        # A tag decides where there are both (13.2.2).
        ([[b"if-none-match", b'"b"'], [b"if-modified-since", LATER]], None, None),
        ([[b"if-match", b"*"], [b"if-unmodified-since", EARLIER]], None, None),
        ([[b"if-match", b'"b"'], [b"if-none-match", b'"a"']], 412, 412),
        ([[b"if-match", b'"a"'], [b"if-none-match", b'"a"']], 304, 412),
    ],
)
def test_conditions_lead_to_a_status(headers: list[list[bytes]], strong: int | None, weak: int | None) -> None:
    assert precondition(headers, STRONG) == strong
    assert precondition(headers, WEAK) == weak


@pytest.mark.parametrize(
    ("value", "allowed"),
    [(b'"a"', True), (b'W/"a"', False), (b'"b"', False), (DATE, True), (EARLIER, False), (LATER, False), (b"", False)],
)
def test_a_range_counts_only_of_the_state_that_is_named(value: bytes, allowed: bool) -> None:
    assert range_allowed([[b"if-range", value]], STRONG) is allowed
    assert not range_allowed([[b"if-range", value]], WEAK)
    assert range_allowed([], WEAK)


def test_the_codings_that_a_client_takes() -> None:
    header = b"gzip;q=0.5, BR , zstd;q=0, deflate; q=0.000, x;q=2, *"
    assert accepted_codings([[b"accept-encoding", header]]) == {b"gzip", b"br", b"*"}
    assert accepted_codings([]) == set()


def test_several_lines_are_one_value() -> None:
    assert field([[b"a", b"1"], [b"b", b"2"], [b"a", b"3"]], b"a") == b"1, 3"
    assert field([], b"a") is None


def test_whatever_a_client_writes_is_read() -> None:
    draw = random.Random(7)
    words = [
        b'"a"',
        b'"',
        b"W/",
        b",",
        b" ",
        b"*",
        b"Sun,",
        b"06",
        b"Nov",
        b"1994",
        b"99999999999999",
        b"08:49:37",
        b"GMT",
        b"-",
        b"\xff",
    ]
    for _ in range(3000):
        value = b"".join(draw.choice(words) + draw.choice([b"", b" "]) for _ in range(draw.randrange(8)))
        for name in (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"):
            assert precondition([[name, value]], STRONG) in (None, 304, 412)
        assert range_allowed([[b"if-range", value]], STRONG) in (True, False)
        accepted_codings([[b"accept-encoding", value]])
