"""
What a message is on the wire: msgpack, by msgspec, of plain values only.

Owns the answer to "may this travel?" and both directions of the encoding. It never sees the segment, a channel or a clock.
Every process that sends or receives runs it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from shmchan._exchange import is_plain
from shmchan.exceptions import MessageTooLarge

MAX_DEPTH = 200
LONGEST = 16 << 20  # bytes of one message, where neither the layer's options nor a small memory say otherwise
_WORD = 1 << 63
_ALLOWED = "str, bytes, int of 64 bits, float, bool, None, list, tuple and dict with str keys"
_encode = msgspec.msgpack.Encoder().encode
decode_any = msgspec.msgpack.Decoder().decode  # of any value; decode() for what is known to be a message


def encode(message: dict[str, Any], max_size: int) -> bytes:
    """
    The bytes of a message.

    Args:
        message: a dict of plain values; it may be changed afterwards without harm.
        max_size: bytes that the result may have.

    Raises:
        TypeError: something in it cannot travel; the text names the key.
        MessageTooLarge: it is longer than ``max_size``.
    """
    if not is_plain(message):
        message = plain(message)
    payload = _encode(message)
    if len(payload) > max_size:
        raise MessageTooLarge(len(payload), max_size)
    return payload


def too_large(size: int, limit: int, memory: int) -> MessageTooLarge:
    """
    The error for a message of this size, on a layer that carries so much and has so much memory.

    It names the option of `shmchan run` that helps: what a message may have follows the memory up to LONGEST, and from there on
    what a WebSocket may send.
    """
    mebibytes = -(-size >> 20)
    follows_memory = limit < LONGEST and limit in (memory >> 3, memory)
    option = f"--memory {8 * mebibytes}MiB" if follows_memory and size <= LONGEST else f"--ws-max-size {mebibytes}MiB"
    step = f"send it in parts, or run with {option} (where the layer is made by hand: max_message_size={size})"
    return MessageTooLarge(size, limit, step)


def encode_session(data: dict[str, Any], max_size: int) -> bytes:
    """
    The bytes of what is kept for a connection.

    Raises:
        TypeError, MessageTooLarge: as of `encode`.
    """
    try:
        return encode(data, max_size)
    except MessageTooLarge as error:
        step = "keep less in it: a key under which the rest lies in a database"
        raise MessageTooLarge(error.size, max_size, step, "a connection's session") from None


def with_place(payload: bytes, group: str, epoch: str) -> bytes:
    """
    A message with the key ``history`` at its end: the group, the epoch, and eight bytes for the offset, which are its last.

    Source: MessagePack specification, "map format family": 0x80 + the number of keys, or 0xde and a number of 16 bits.
    """
    first = payload[0]
    count, rest = (first - 0x80, payload[1:]) if first < 0x90 else (int.from_bytes(payload[1:3], "big"), payload[3:])
    if not (0x80 <= first < 0x90 or first == 0xDE) or count >= 0xFFFF:
        raise TypeError("a message of a group with a history has at most 65,534 keys; send them in a list")
    head = bytes([0x81 + count]) if count < 15 else b"\xde" + (count + 1).to_bytes(2, "big")
    place = _encode({"group": group, "epoch": epoch, "offset": 1 << 63})  # of the full width, whatever comes there
    return head + rest + b"\xa7history" + place[:-8] + bytes(8)


def placed(payload: bytes, offset: int) -> bytes:
    """What `with_place` made, with its offset."""
    return payload[:-8] + offset.to_bytes(8, "big")


def decode(payload: bytes | memoryview) -> dict[str, Any]:
    """The message of what :func:`encode` made. Raises ValueError for bytes that are no message."""
    try:
        message = decode_any(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{len(payload)} bytes are no message: {error}") from error
    if type(message) is not dict:
        raise ValueError(f"a message is a dict, this is a {type(message).__name__}")
    return message


def plain(message: Any) -> dict[str, Any]:
    """
    A copy of the message in exact types: subclasses of str, int, float, bytes, list, tuple and dict lose what they add.

    Raises:
        TypeError: something else is in it, and where.
    """
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict, this is a {type(message).__name__}")
    return cast(dict[str, Any], _copy(message, []))


def _copy(value: Any, path: list[str]) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, int):
        if not -_WORD <= value < _WORD:
            raise TypeError(f"{_where(path)} is an int that does not fit into signed 64 bits; send it as a str")
        return int(value)
    if isinstance(value, float):
        return float(value)
    if len(path) >= MAX_DEPTH:
        raise TypeError(f"{_where(path[:3])} is nested deeper than {MAX_DEPTH} levels; send it flat, or encoded as a str")
    if isinstance(value, (list, tuple)):
        return [_at(item, path, f"[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, path): _at(item, path, f"[{key!r}]") for key, item in value.items()}
    raise TypeError(f"{_where(path)} is a {type(value).__name__}, which cannot travel in a message; allowed are {_ALLOWED}")


def _at(value: Any, path: list[str], step: str) -> Any:
    with _step(path, step):
        return _copy(value, path)


@contextmanager
def _step(path: list[str], step: str) -> Iterator[None]:
    path.append(step)
    yield
    path.pop()


def _key(key: Any, path: list[str]) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} of {_where(path)} is a {type(key).__name__}; keys are str")
    return _text(key, [*path, f"[{key!r}]"])


def _text(text: str, path: list[str]) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TypeError(
            f"{_where(path)} holds a lone surrogate at position {error.start}, which no UTF-8 can carry; send it as bytes"
        ) from None
    return str.__str__(text)


def _where(path: list[str]) -> str:
    return f"message{''.join(path)}" if path else "the message"
