"""The C frame codec against the reference decoder, and the contracts of csrc/frames/wsframe.h."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from shmchan._frames import ffi, lib
from shmchan.protocol import frames

from .reference import NAMES, Reference, Utf8, client_frame

ERRORS = {getattr(lib, name): name.removeprefix("SHMC_WS_E_") for name in dir(lib) if name.startswith("SHMC_WS_E_")}


class Driver:
    """Runs the C parser over pieces of a stream, each in a buffer of exactly its size, and notes what Reference notes."""

    def __init__(self, max_size: int, max_compressed: int = 0, max_fragments: int = 1 << 17) -> None:
        self.parser = ffi.new("struct shmc_ws_parser *")
        lib.shmc_ws_parser_init(self.parser, max_size, max_compressed, max_fragments)
        self.batch = ffi.new("struct shmc_ws_batch *")
        self.out = ffi.buffer(self.batch.out, lib.SHMC_WS_BATCH_OUT_BYTES)
        self.events: list[tuple[str, bool, bytes]] = []
        self.error: str | None = None
        self.error_at = 0
        self.taken = 0
        self.message = b""

    def feed(self, data: bytes) -> None:
        start = 0
        copy = ffi.new("uint8_t[]", list(data))
        while start < len(data):
            count = lib.shmc_ws_parse(self.parser, copy, start, len(data), self.batch)
            assert count <= lib.SHMC_WS_BATCH_RECORDS
            assert start < self.parser.consumed <= len(data)
            start = self.parser.consumed
            for index in range(count):
                self.record(self.batch.records[index])
            if self.parser.error and self.error is None:
                self.error, self.error_at = ERRORS[self.parser.error], self.taken + start
        assert bytes(copy) == data, "the input is only read"
        self.taken += len(data)

    def record(self, record: object) -> None:
        kind, offset, length = record.kind, record.offset, record.length  # type: ignore[attr-defined]
        assert offset + length <= lib.SHMC_WS_BATCH_OUT_BYTES
        payload = self.out[offset : offset + length]
        opcode = kind & frames.OPCODE
        if opcode >= 8:
            assert kind == opcode | frames.END
            self.events.append((NAMES[opcode], False, payload))
            return
        self.message += payload
        if kind & frames.END:
            self.events.append((NAMES[opcode], bool(kind & frames.COMPRESSED), self.message))
            self.message = b""


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in itertools.pairwise(at)]


def compare(stream: bytes, cuts: list[int], *, max_size: int, max_compressed: int, max_fragments: int = 1 << 17) -> Driver:
    reference = Reference(max_size, max_compressed, max_fragments)
    reference.feed(stream)
    driver = Driver(max_size, max_compressed, max_fragments)
    for piece in split(stream, cuts):
        driver.feed(piece)
    assert (driver.events, driver.error, driver.error_at) == (reference.events, reference.error, reference.error_at)
    return driver


PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(str.encode),
    st.sampled_from(
        [b"x" * 125, b"y" * 126, "é\u20ac\U0001f600".encode() * 30, b"\xed\xa0\x80", b"\xf4\x90", b"a" * 15 + b"\xff"]
    ),
)
# Mostly frames that obey the rules, with every rule broken now and then.
FRAMES = st.builds(
    client_frame,
    st.sampled_from([0, 0, 1, 1, 2, 8, 9, 10, 3, 11]),
    PAYLOADS,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0, 4, 2, 1]),
    mask=st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.none()),
)
CUTS = st.lists(st.integers(0, 4000), max_size=12)
LIMITS = st.sampled_from([(0, 0), (30, 0), (1000, 60), (1 << 20, 1 << 20)])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=80), CUTS, LIMITS)
def test_arbitrary_bytes_decode_as_the_reference_says(stream: bytes, cuts: list[int], limits: tuple[int, int]) -> None:
    compare(stream, cuts, max_size=limits[0], max_compressed=limits[1])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAMES, max_size=8).map(b"".join), CUTS, LIMITS, st.sampled_from([0, 1, 1 << 17]))
@example(client_frame(8, b"", mask=None), [], (30, 0), 0)
def test_frames_of_all_kinds_decode_as_the_reference_says(
    stream: bytes, cuts: list[int], limits: tuple[int, int], max_fragments: int
) -> None:
    compare(stream, cuts, max_size=limits[0], max_compressed=limits[1], max_fragments=max_fragments)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60), st.lists(st.integers(0, 200), max_size=6), st.binary(min_size=4, max_size=4), CUTS)
def test_text_in_fragments_with_pings_between_arrives_whole(text: str, ends: list[int], mask: bytes, cuts: list[int]) -> None:
    pieces = split(text.encode(), ends)
    stream = b""
    for index, piece in enumerate(pieces or [b""]):
        last = index >= len(pieces) - 1
        stream += client_frame(0 if index else 1, piece, fin=last, mask=mask)
        if not last:
            stream += client_frame(9, b"%d" % index, mask=mask)
    driver = compare(stream, cuts, max_size=1000, max_compressed=0)
    assert driver.error is None
    assert driver.events[-1] == ("text", False, text.encode())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode()[:-1])), CUTS)
def test_utf8_is_checked_as_early_as_pythons_decoder_does(data: bytes, cuts: list[int]) -> None:
    reference = Utf8()
    expected = reference.feed(data)
    state = ffi.new("struct shmc_utf8 *")
    at = 0
    for piece in split(data, cuts):
        good = lib.shmc_utf8_feed(state, piece, len(piece))
        at += good
        if good < len(piece):
            break
    assert at == expected
    if at == len(data):
        assert (state.left == 0) == (reference.decoder.getstate()[0] == b"")


@pytest.mark.parametrize("lead", range(0x80, 0x100))
def test_every_sequence_of_two_bytes_is_judged_as_python_judges_it(lead: int) -> None:
    for second in range(256):
        data = bytes([lead, second])
        validator = frames.Utf8Validator()
        ok = Utf8().feed(data) == 2
        assert validator.feed(data) == ok
        if ok:
            assert validator.complete() == (lead < 0xE0)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4), st.integers(0, 3), st.booleans())
def test_unmasking_is_xor_with_the_turned_mask(data: bytes, mask: bytes, phase: int, in_place: bool) -> None:
    source = ffi.new("uint8_t[]", max(len(data), 1))
    ffi.buffer(source)[: len(data)] = data
    target = source if in_place else ffi.new("uint8_t[]", max(len(data), 1))
    after = lib.shmc_ws_unmask(target, source, len(data), mask, phase)
    assert ffi.buffer(target)[: len(data)] == bytes(byte ^ mask[(phase + i) % 4] for i, byte in enumerate(data))
    assert after == (phase + len(data)) % 4


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 65537, (1 << 63) - 1])
def test_headers_use_the_shortest_length(length: int) -> None:
    out = ffi.new("uint8_t[]", lib.SHMC_WS_HEADER_BYTES)
    written = lib.shmc_ws_header(out, 0x82, length)
    extra = 0 if length < 126 else 2 if length < 65536 else 8
    expected = bytes([0x82, length if not extra else 126 if extra == 2 else 127])
    assert ffi.buffer(out)[:written] == expected + (length.to_bytes(extra, "big") if extra else b"")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
@pytest.mark.parametrize("step", [1 << 20, 1000, 65536, 65537])
def test_messages_of_any_length_come_through(size: int, step: int) -> None:
    payload = (b"0123456789abcdef-" * (size // 17 + 1))[:size]
    stream = client_frame(2, payload) + client_frame(1, payload)
    driver = Driver(1 << 20)
    for at in range(0, len(stream), step):
        driver.feed(stream[at : at + step])
    assert driver.error is None
    assert driver.events == [("binary", False, payload), ("text", False, payload)]


def test_more_frames_than_a_batch_has_records_come_through() -> None:
    parser = frames.FrameParser(1000)
    records = parser.feed(b"".join(client_frame(2, b"%d" % index) for index in range(1000)))
    assert records == [(frames.WHOLE_BINARY, b"%d" % index) for index in range(1000)]


def test_fragments_that_come_together_are_one_record() -> None:
    parser = frames.FrameParser(1 << 20)
    count = 2000
    stream = client_frame(1, b"a", fin=False) + client_frame(0, b"a", fin=False) * count + client_frame(0, b"a")
    assert parser.feed(stream) == [(frames.WHOLE_TEXT, b"a" * (count + 2))]


def test_a_failed_parser_finds_the_close_and_nothing_else() -> None:
    parser = frames.FrameParser(10)
    stream = client_frame(2, b"ok") + client_frame(2, b"x" * 11) + client_frame(9, b"p") + client_frame(8, b"\x03\xe8")
    assert parser.feed(stream) == [(frames.WHOLE_BINARY, b"ok"), (frames.FAILED, b""), (frames.CLOSE | frames.END, b"")]
    assert frames.FAILURES[parser.error].code == 1009
    assert parser.feed(client_frame(1, b"later")) == []


def test_failing_from_outside_keeps_the_first_reason() -> None:
    parser = frames.FrameParser(10)
    parser.fail()
    assert parser.error == lib.SHMC_WS_E_CALLER
    parser.feed(b"\xff" * 20)
    assert parser.error == lib.SHMC_WS_E_CALLER


def test_every_error_of_the_codec_has_a_close_code() -> None:
    assert set(frames.FAILURES) == set(ERRORS) - {lib.SHMC_WS_E_CALLER}


def test_an_interrupted_stream_keeps_its_place_across_batches() -> None:
    """A record may be as long as a batch's input; the control frame between keeps its own bytes."""
    payload = bytes(range(256)) * 300
    stream = client_frame(2, payload, fin=False) + client_frame(9, b"q" * 125) + client_frame(0, payload)
    for cut in (65536 + 8, 65536 + 9, len(payload) + 14 + 60, len(payload) + 14 + 131):
        driver = Driver(1 << 20)
        driver.feed(stream[:cut])
        driver.feed(stream[cut:])
        assert driver.events == [("ping", False, b"q" * 125), ("binary", False, payload * 2)]


@pytest.mark.parametrize(
    ("size", "prepared"),
    [(size, make) for size in (0, 125, 126, 65536) for make in ("text", "bytes")],
)
def test_prepared_frames_are_final_and_unmasked(size: int, prepared: str) -> None:
    frame = frames.frame_text("x" * size) if prepared == "text" else frames.frame_bytes(b"x" * size)
    assert frame == client_frame(1 if prepared == "text" else 2, b"x" * size, mask=None)
