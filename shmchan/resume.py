"""
What a browser that was away is told, and the text frames in which it asks.

Owns the words that shmchan.js and the server say to each other about places in histories (docs/groups.md). It keeps nothing: what
was missed is in the group's history, and who may have it is said by the consumer that calls `resume`. Workers run it.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from shmchan.channel import Group
from shmchan.jsontext import decode_json
from shmchan.layers.memories import Missed

__all__ = ["resume"]

KEY = "shmchan"
"""Of a frame that is the bridge's, not the application's."""
PIECE = 200_000
"""Characters of missed messages in one frame, but for the last of them."""


def resume(message: Any, *groups: Group) -> bool:
    """
    Answer the bridge, if this ``websocket.receive`` is its question what it has missed. Call it first of all in the consumer::

        def receive(message):
            if resume(message, room):
                return

    Args:
        message: the message.
        groups: those that this client may hear, each with a history; for any other it is refused.

    Returns:
        Whether it was such a question; then it is answered, when the consumer is done.
    """
    wanted = _question(message.get("text"))
    if wanted is None:
        return False
    allowed = {group.name: group for group in groups}
    for name, place in wanted.items():
        group = allowed.get(name)
        frames = [{KEY: {"group": name, "refused": True}}] if group is None else _answer(group, place)
        for frame in frames:
            message.reply_channel.send({"text": json.dumps(frame, ensure_ascii=False, separators=(",", ":"))})
    return True


def _question(text: Any) -> dict[str, Any] | None:
    if not isinstance(text, str) or f'"{KEY}"' not in text:
        return None
    try:
        frame = decode_json(text)
    except ValueError:
        return None
    words = frame.get(KEY) if isinstance(frame, dict) else None
    wanted = words.get("resume") if isinstance(words, dict) else None
    return wanted if isinstance(wanted, dict) else None


def _answer(group: Group, place: Any) -> list[dict[str, Any]]:
    """One frame, or several if much was missed. Without a place it is only told where the group stands."""
    if isinstance(place, dict) and isinstance(place.get("epoch"), str) and type(place.get("offset")) is int:
        missed = group.since(place["epoch"], max(0, min(place["offset"], 1 << 62)))
    else:
        now = group.since(None, 0)
        missed = Missed([], False, now.epoch, now.offset)
    pieces: list[list[Any]] = [[]]
    size = 0
    for message in missed.messages:
        item = [message["history"]["offset"], contents(message)]
        if size > PIECE:
            pieces.append([])
            size = 0
        pieces[-1].append(item)
        size += sum(map(len, item[1].values()))
    place = {"group": group.name, "epoch": missed.epoch, "offset": missed.offset}
    return [
        {KEY: {**place, "gap": missed.gap and piece is pieces[0], "more": piece is not pieces[-1]}, "resumed": piece}
        for piece in pieces
    ]


def contents(message: Mapping[str, Any]) -> dict[str, str]:
    """What of a message goes into a frame with its place: ``text``, and ``bytes`` in base64."""
    found: dict[str, str] = {}
    if isinstance(message.get("text"), str):
        found["text"] = message["text"]
    if isinstance(message.get("bytes"), bytes):
        found["bytes"] = base64.b64encode(message["bytes"]).decode()
    return found
