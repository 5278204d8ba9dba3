"""HTTP/1.1 without I/O, however the bytes are cut: Hypothesis looks for a cut or a byte that makes a difference."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from shmchan.protocol.http import BodyReceived, HTTPConnection, HTTPLimits, RequestReceived, UpgradeReceived

REQUESTS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP/1",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: u\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nPUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nxyz",
    b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]


def outcome(pieces: list[bytes]) -> tuple[list[tuple[str, bytes]], bytes]:
    """Every request that was handed on, with its body, and the bytes of the answers; the hints to go on are left out."""
    http = HTTPConnection(now=0.0, limits=HTTPLimits(body_start=8))
    requests: list[tuple[str, bytes]] = []
    out = b""
    for piece in [*pieces, b""]:
        if piece:
            http.receive_data(piece, 0.0)
        while events := http.events():
            for event in events:
                if isinstance(event, RequestReceived):
                    requests.append((event.head.path, event.body))
                elif isinstance(event, BodyReceived):
                    requests[-1] = (requests[-1][0], requests[-1][1] + event.content)
                elif isinstance(event, UpgradeReceived):
                    requests.append((event.head.path, b""))
                more = event.more_body if isinstance(event, RequestReceived) else getattr(event, "more_content", False)
                if not more and http.writing == "OWED":
                    http.send_response(200, [], b"ok")
        out += http.data_to_send().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    return requests, out


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(marks)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5), st.lists(st.integers(0, 10_000), max_size=12))
def test_a_cut_makes_no_difference(requests: list[bytes], places: list[int]) -> None:
    data = b"".join(requests)
    whole = outcome([data])
    assert len(whole[0]) == len(requests)
    assert outcome(cut(data, places)) == whole


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=2),
    st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(b"\r\n\x00 :;,0aA_\x80\xff")), min_size=1, max_size=3),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_damage_raises_nothing_and_is_seen_the_same_in_every_cut(
    requests: list[bytes], damage: list[tuple[int, int]], places: list[int]
) -> None:
    data = bytearray(b"".join(requests))
    for place, byte in damage:
        data[place % len(data)] = byte
    whole, pieces = outcome([bytes(data)]), outcome(cut(bytes(data), places))
    statuses = [answer[:3] for answer in whole[1].split(b"HTTP/1.1 ")[1:]]
    # A body whose middle is bad is refused before its start is handed on, or after: that is all a cut may change.
    assert [answer[:3] for answer in pieces[1].split(b"HTTP/1.1 ")[1:]] == statuses
    assert [path for path, _ in pieces[0]][: len(whole[0])] == [path for path, _ in whole[0]]
    assert len(pieces[0]) - len(whole[0]) in (0, 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_noise_raises_nothing(pieces: list[bytes]) -> None:
    outcome(pieces)
