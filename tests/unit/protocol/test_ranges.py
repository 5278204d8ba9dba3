"""Parts of a file: RFC 9110, section 14."""

import pytest

from shmchan.protocol.ranges import MOST, Span, content_range, in_parts, read_range


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        (b"bytes=0-499", [(0, 500)]),
        (b"Bytes = 0-0", [(0, 1)]),
        (b"bytes=500-", [(500, 1000)]),
        (b"bytes=-1", [(999, 1000)]),
        (b"bytes=-5000", [(0, 1000)]),
        (b"bytes=990-5000", [(990, 1000)]),
        (b"bytes=0-0,-1", [(0, 1), (999, 1000)]),
        (b"bytes=900-, 0-9 ,,", [(900, 1000), (0, 10)]),
        (b"bytes=0-9,10-19", [(0, 10), (10, 20)]),
        (b"bytes=0-9,2000-", [(0, 10)]),
        # Nothing of it is there.
        (b"bytes=1000-", []),
        (b"bytes=-0", []),
        (b"bytes=1000-1001,5000-", []),
        # As if it were not there.
        (b"lines=0-9", None),
        (b"bytes", None),
        (b"bytes=", None),
        (b"bytes=,", None),
        (b"bytes=-", None),
        (b"bytes=5-4", None),
        (b"bytes=a-b", None),
        (b"bytes=0-1-2", None),
        (b"bytes=+0-1", None),
        (b"bytes=0-9;1", None),
        (b"bytes=" + b"9" * 400 + b"-", None),
        (b"bytes=0-9,5-14", None),
        (b"bytes=0-,-1", None),
        (b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(MOST + 1)), None),
    ],
)
def test_what_a_range_header_asks_for(value: bytes, spans: list[Span] | None) -> None:
    assert read_range(value, 1000) == spans


def test_an_empty_file_has_no_parts() -> None:
    assert read_range(b"bytes=0-", 0) is None
    assert read_range(b"bytes=-1", 0) is None


def test_the_most_ranges_are_served() -> None:
    spans = read_range(b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(MOST)), 1000)
    assert spans == [(n, n + 1) for n in range(MOST)]


def test_where_a_part_lies() -> None:
    assert content_range((0, 500), 1000) == b"bytes 0-499/1000"
    assert content_range(None, 1000) == b"bytes */1000"


def test_several_parts_are_framed() -> None:
    content = b"0123456789"
    pieces = in_parts([(0, 2), (8, 10)], 10, b"text/plain", b"XX")
    assert b"".join(piece if isinstance(piece, bytes) else content[slice(*piece)] for piece in pieces) == (
        b"--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01"
        b"\r\n--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89"
        b"\r\n--XX--\r\n"
    )
