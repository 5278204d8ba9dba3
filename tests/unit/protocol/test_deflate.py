"""permessage-deflate: what is agreed on, and what is compressed and decompressed under it."""

import os
import zlib

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from shmchan.protocol.deflate import BadDeflate, Deflate, DeflateTooLarge, Offer, negotiate

TAIL = b"\x00\x00\xff\xff"


def offer(*parameters: tuple[str, str | None]) -> Offer:
    return ("permessage-deflate", list(parameters))


class Peer:
    """The client's side by zlib alone."""

    def __init__(self, bits: int = 15, inflate_bits: int = 15) -> None:
        self.compressor = zlib.compressobj(wbits=-bits)
        self.decompressor = zlib.decompressobj(-inflate_bits)

    def compress(self, data: bytes) -> bytes:
        return (self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)

    def decompress(self, payload: bytes) -> bytes:
        return self.decompressor.decompress(payload + TAIL)


# --- negotiation


@pytest.mark.parametrize(
    ("parameters", "answer"),
    [
        ((), "permessage-deflate; server_max_window_bits=12"),
        (
            (("client_max_window_bits", None),),
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            (("client_max_window_bits", "10"), ("server_max_window_bits", "9")),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
        ),
        ((("server_max_window_bits", "15"),), "permessage-deflate; server_max_window_bits=12"),
        (
            (("server_no_context_takeover", None), ("client_no_context_takeover", None)),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
        ),
    ],
)
def test_an_offer_is_answered(parameters: tuple[tuple[str, str | None], ...], answer: str) -> None:
    deflate = negotiate([offer(*parameters)])
    assert deflate is not None
    assert deflate.answer == answer


@pytest.mark.parametrize(
    "parameters",
    [
        (("server_max_window_bits", "8"),),  # zlib cannot
        (("server_max_window_bits", None),),
        (("server_max_window_bits", "16"),),
        (("server_max_window_bits", "09"),),
        (("client_max_window_bits", "7"),),
        (("client_max_window_bits", "x"),),
        (("server_no_context_takeover", "1"),),
        (("client_no_context_takeover", None), ("client_no_context_takeover", None)),
        (("unheard_of", None),),
    ],
)
def test_an_offer_that_cannot_be_met_is_declined_and_the_next_taken(parameters: tuple[tuple[str, str | None], ...]) -> None:
    assert negotiate([offer(*parameters)]) is None
    deflate = negotiate([offer(*parameters), ("other", []), offer(("client_max_window_bits", "9"))])
    assert deflate is not None
    assert deflate.client_max_window_bits == 9


def test_without_an_offer_nothing_is_agreed_on() -> None:
    assert negotiate([]) is None
    assert negotiate([("x-webkit-deflate-frame", [])]) is None


def test_a_client_that_may_not_be_told_its_window_keeps_the_largest() -> None:
    deflate = negotiate([offer()], window_bits=9)
    assert deflate is not None
    assert deflate.client_max_window_bits == 15
    assert "client_max_window_bits" not in deflate.answer


@pytest.mark.parametrize("bits", [{"server_max_window_bits": 8}, {"client_max_window_bits": 16}, {"client_max_window_bits": 7}])
def test_windows_that_do_not_exist_are_refused(bits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_window_bits is"):
        Deflate(**bits)  # type: ignore[arg-type]


# --- both directions


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.one_of(st.binary(max_size=2000), st.text(max_size=300).map(str.encode)), max_size=6),
    st.integers(9, 15),
    st.integers(9, 15),
    st.booleans(),
)
def test_messages_survive_both_ways(messages: list[bytes], server_bits: int, client_bits: int, fresh: bool) -> None:
    deflate = Deflate(
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
        server_no_context_takeover=fresh,
        client_no_context_takeover=fresh,
    )
    peer = Peer(client_bits, server_bits)
    for message in messages:
        if fresh:
            peer = Peer(client_bits, server_bits)
        assert deflate.decompress(peer.compress(message) or b"\x00", len(message), end=True) == message
        assert peer.decompress(deflate.compress(message)) == message


def test_context_is_taken_over_unless_that_was_agreed_against() -> None:
    message = os.urandom(500)
    deflate = Deflate()
    assert len(deflate.compress(message)) > 500
    assert len(deflate.compress(message)) < 50
    deflate = Deflate(server_no_context_takeover=True)
    assert deflate.compress(message) == deflate.compress(message)


def test_no_context_of_the_client_is_kept_if_so_agreed() -> None:
    deflate = Deflate(client_no_context_takeover=True)
    peer = Peer()
    message = os.urandom(500)
    assert deflate.decompress(peer.compress(message), 500, end=True) == message
    with pytest.raises(BadDeflate):
        deflate.decompress(peer.compress(message), 500, end=True)


def test_a_message_may_come_in_pieces() -> None:
    deflate = Deflate()
    message = b"hello hello hello"
    payload = Peer().compress(message)
    pieces = [deflate.decompress(payload[at : at + 1], 17, end=False) for at in range(len(payload))]
    pieces.append(deflate.decompress(b"", 17, end=True))
    assert b"".join(pieces) == message


# RFC 7692, section 7.2.3
@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("f2 48 cd c9 c9 07 00", b"Hello"),
        ("00 05 00 fa ff 48 65 6c 6c 6f 00", b"Hello"),
        ("f3 48 cd c9 c9 07 00 00", b"Hello"),
        ("f2 48 05 00 00 00 ff ff ca c9 c9 07 00", b"Hello"),
        ("00", b""),
    ],
)
def test_the_examples_of_the_rfc(payload: str, message: bytes) -> None:
    deflate = Deflate()
    for _ in range(3):
        assert deflate.decompress(bytes.fromhex(payload), 5, end=True) == message


def test_a_stream_that_ends_with_the_message_is_followed_by_a_new_one() -> None:
    deflate = Deflate()
    whole = zlib.compressobj(wbits=-15)
    payload = whole.compress(b"first") + whole.flush()
    assert deflate.decompress(payload, 10, end=True) == b"first"
    assert deflate.decompress(Peer().compress(b"second"), 10, end=True) == b"second"


# --- hostile input


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = Peer().compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    with pytest.raises(DeflateTooLarge):
        Deflate().decompress(bomb, 1000, end=True)
    assert Deflate().decompress(Peer().compress(bytes(1000)), 1000, end=True) == bytes(1000)
    with pytest.raises(DeflateTooLarge):
        Deflate().decompress(Peer().compress(bytes(1001)), 1000, end=True)


def test_garbage_is_bad() -> None:
    with pytest.raises(BadDeflate, match="no deflate stream"):
        Deflate().decompress(b"\xff" * 20, 1000, end=True)


def test_a_message_of_very_many_streams_is_bad() -> None:
    with pytest.raises(BadDeflate, match="streams"):
        Deflate().decompress(b"\x03\x00" * 1000, 1000, end=True)
