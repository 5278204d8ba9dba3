"""What a browser that was away is told, as frames."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shmchan import Group
from shmchan.front.answers import read_answer
from shmchan.layers.memory import InMemoryChannelLayer
from shmchan.message import Message
from shmchan.resume import PIECE, resume


@pytest.fixture
def layer() -> Iterator[InMemoryChannelLayer]:
    with InMemoryChannelLayer(max_message_size=1 << 20) as layer:
        yield layer


def asked(layer: InMemoryChannelLayer, text: Any, *groups: Group) -> list[dict[str, Any]]:
    """The frames that answer this one."""
    message = Message({"reply_channel": "answers", "text": text}, "websocket.receive", layer)
    assert resume(message, *groups)
    found = []
    while (answer := layer.receive(["answers"])[1]) is not None:
        found.append(json.loads(answer["text"]))
    return found


def question(**places: Any) -> str:
    return json.dumps({"shmchan": {"resume": places}})


def test_it_is_told_what_it_missed(layer: InMemoryChannelLayer) -> None:
    room = Group("room", channel_layer=layer, history=5)
    for n in (1, 2, 3):
        room.send({"text": f"{n}é"})
    room.send({"bytes": b"\x00\xff"})
    [frame] = asked(layer, question(room={"epoch": layer.epoch, "offset": 2}), room)
    assert frame == {
        "shmchan": {"group": "room", "epoch": layer.epoch, "offset": 4, "gap": False, "more": False},
        "resumed": [[3, {"text": "3é"}], [4, {"bytes": "AP8="}]],
    }
    [frame] = asked(layer, question(room=None), room)
    assert frame["shmchan"] == {"group": "room", "epoch": layer.epoch, "offset": 4, "gap": False, "more": False}
    assert frame["resumed"] == []
    for wrong in ({"epoch": "old", "offset": 3}, {"epoch": layer.epoch, "offset": 99}):
        [frame] = asked(layer, question(room=wrong), room)
        assert frame["shmchan"]["gap"]
        assert len(frame["resumed"]) == 4
    assert asked(layer, question(room={"epoch": 1}), room)[0]["resumed"] == []


def test_much_comes_in_pieces_and_the_gap_is_told_once(layer: InMemoryChannelLayer) -> None:
    room = Group("room", channel_layer=layer, history=10)
    for _ in range(15):
        room.send({"text": "x" * 50_000})
    frames = asked(layer, question(room={"epoch": layer.epoch, "offset": 1}), room)
    assert [frame["shmchan"]["gap"] for frame in frames] == [True, *[False] * (len(frames) - 1)]
    assert [frame["shmchan"]["more"] for frame in frames] == [*[True] * (len(frames) - 1), False]
    assert [offset for frame in frames for offset, _ in frame["resumed"]] == [*range(6, 16)]
    assert 1 < len(frames) <= 10 * 50_000 // PIECE + 1


def test_only_groups_that_the_consumer_names_are_told(layer: InMemoryChannelLayer) -> None:
    secret = Group("secret", channel_layer=layer, history=5)
    secret.send({"text": "for others"})
    frames = asked(layer, question(secret=None, room={"epoch": layer.epoch, "offset": 0}))
    assert frames == [{"shmchan": {"group": name, "refused": True}} for name in ("secret", "room")]


@pytest.mark.parametrize("text", [None, "", "hello", '"shmchan"', '{"shmchan": 1}', '{"shmchan": {"resume": []}}', '{"shmchan":'])
def test_anything_else_is_the_application_s(layer: InMemoryChannelLayer, text: str | None) -> None:
    content = {"reply_channel": "answers", **({} if text is None else {"text": text})}
    assert not resume(Message(content, "websocket.receive", layer))
    assert layer.receive(["answers"]) == (None, None)


def test_the_front_puts_the_place_around_what_is_kept() -> None:
    place = {"group": "room", "epoch": "e", "offset": 7}
    answer = read_answer({"text": '{"a": "é"}', "history": place}, group=True)
    assert answer.problems == []
    assert [json.loads(str(frame)) for frame in answer.frames] == [{"shmchan": place, "text": '{"a": "é"}'}]
    both = read_answer({"text": "", "bytes": b"\xff", "history": place})
    assert [json.loads(str(frame)) for frame in both.frames] == [{"shmchan": place, "text": "", "bytes": "/w=="}]
    assert read_answer({"close": True, "history": place}).frames == []
    assert read_answer({"text": "x", "history": 1}).frames == ["x"]
