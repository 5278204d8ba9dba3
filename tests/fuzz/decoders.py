"""Fuzzing without libFuzzer: the WebSocket codec against its reference, and the decoder of messages; seeded inputs."""

import random
import time
from typing import Any

from shmchan.layers import wire
from shmchan.protocol import frames
from tests.unit.protocol.reference import NAMES, Reference, client_frame

PAYLOADS = [
    b"",
    b"a",
    b"hello",
    "Grüße".encode(),
    "\U0001f600".encode(),
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xff",
    b"x" * 126,
]
LIMITS = [(0, 0), (10, 0), (100, 20), (1 << 20, 1 << 20)]


def _stream(dice: random.Random) -> bytes:
    """Some frames of a client, each rule broken now and then, and now and then some bytes changed."""
    data = b""
    for _ in range(dice.randrange(1, 4)):
        opcode = dice.choice((0, 0, 1, 1, 2, 8, 9, 10, 3, 11))
        payload = dice.choice(PAYLOADS)
        cut = dice.randrange(len(payload) + 1) if dice.random() < 0.3 else len(payload)
        mask = dice.randbytes(4) if dice.random() < 0.95 else None
        data += client_frame(opcode, payload[:cut], fin=dice.random() < 0.7, rsv=dice.choice((0, 0, 0, 0, 4, 2)), mask=mask)
    if dice.random() < 0.4:
        changed = bytearray(data)
        changed[dice.randrange(len(changed))] = dice.randrange(256)
        data = bytes(changed)
    return data


def _codec(data: bytes, limits: tuple[int, int], fragments: int, dice: random.Random) -> tuple[Any, ...]:
    parser = frames.FrameParser(*limits, fragments)
    events: list[tuple[str, bool, bytes]] = []
    message, failed, at = b"", False, 0
    while at < len(data):
        end = min(len(data), at + dice.choice((1, 3, 7, 50, 1000)))
        for kind, payload in parser.feed(data[at:end]):
            opcode = kind & frames.OPCODE
            if kind == frames.FAILED:
                failed = True
            elif opcode >= frames.CLOSE:
                events.append((NAMES[opcode], False, payload))
            else:
                message += payload
                if kind & frames.END:
                    events.append((NAMES[opcode], bool(kind & frames.COMPRESSED), message))
                    message = b""
        at = end
    assert failed == (parser.error != 0)
    return events, parser.error


def differential(seconds: float, seed: int, cases: int | None = None) -> str:
    """Decode the same bytes with the C codec and with the reference until the time or the cases are over; they must agree."""
    from shmchan._frames import lib

    dice, begin, done = random.Random(seed), time.monotonic(), 0
    while (time.monotonic() - begin < seconds) if cases is None else done < cases:
        data, limits, fragments = _stream(dice), dice.choice(LIMITS), dice.choice((0, 1, 1 << 17))
        reference = Reference(*limits, fragments)
        reference.feed(data)
        expected = reference.error and getattr(lib, f"SHMC_WS_E_{reference.error}")
        found = _codec(data, limits, fragments, dice)
        assert found == (reference.events, expected or 0), f"seed {seed}, case {done}: {data!r} with {limits}, {fragments}"
        done += 1
    spent = time.monotonic() - begin
    return f"{done} streams in {spent:.0f} s, {done / spent:.0f} a second, seed {seed}"


def _value(dice: random.Random, depth: int) -> Any:
    kind = dice.randrange(9 if depth < 3 else 7)
    if kind == 7:
        return [_value(dice, depth + 1) for _ in range(dice.randrange(4))]
    if kind == 8:
        return {f"k{dice.randrange(9)}": _value(dice, depth + 1) for _ in range(dice.randrange(4))}
    return (None, True, dice.randrange(-(1 << 63), 1 << 63), dice.random(), "text ü", dice.randbytes(dice.randrange(9)), 7)[kind]


def messages(seconds: float, seed: int, cases: int | None = None) -> str:
    """Damage encoded messages: decoding gives a dict or raises ValueError; undamaged ones come back as they were."""
    dice, begin, done, refused = random.Random(seed), time.monotonic(), 0, 0
    while (time.monotonic() - begin < seconds) if cases is None else done < cases:
        message = {"reply_channel": "front!x", "content": _value(dice, 0), "n": dice.randrange(300)}
        payload = wire.encode(message, 1 << 20)
        assert wire.decode(payload) == message, f"seed {seed}, case {done}: {message!r}"
        damaged = bytearray(payload)
        for _ in range(dice.randrange(1, 6)):
            at, how = dice.randrange(len(damaged)), dice.randrange(3)
            if how == 0:
                damaged[at] = dice.randrange(256)
            elif how == 1:
                damaged[at:at] = dice.randbytes(dice.randrange(1, 5))
            else:
                del damaged[at:]
                damaged += dice.randbytes(1)
        try:
            assert type(wire.decode(bytes(damaged))) is dict
        except ValueError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, case {done}: {bytes(damaged)!r}") from error
        done += 1
    spent = time.monotonic() - begin
    return f"{done} messages in {spent:.0f} s, {refused} refused, seed {seed}"
