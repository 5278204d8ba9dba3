"""The code in docs/consumers.md runs as it stands there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmchan import Message, channel_layers
from shmchan.layers import InMemoryChannelLayer
from shmchan.routing import Router
from shmchan.sessions import use_sessions
from shmchan.sessions.sqlite import SqliteEngine
from shmchan.sessions.store import settings

PAGE = Path(__file__).parents[2] / "docs" / "consumers.md"
REPLY = "websocket.send.a!x"


@pytest.fixture
def names() -> dict[str, Any]:
    """What the page's code defines."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    found: dict[str, Any] = {"__name__": "consumers_page"}
    exec(compile(code, str(PAGE), "exec"), found)
    return found


@pytest.fixture
def layer() -> Iterator[InMemoryChannelLayer]:
    with InMemoryChannelLayer() as layer:
        before = channel_layers.set("default", layer)
        yield layer
        channel_layers.set("default", before)


def say(layer: InMemoryChannelLayer, routing: Any, channel: str, path: str, **content: Any) -> list[Any]:
    """What the client gets for one message."""
    message = Message({"reply_channel": REPLY, "path": path, **content}, channel, layer)
    found = Router(routing).match(message)
    assert found is not None
    found[0](message, **found[1])
    answers = []
    while (answer := layer.receive(["websocket.send.a!"])[1]) is not None:
        answers.append(answer)
    return answers


def test_the_room_talks_to_everybody_in_it(layer: InMemoryChannelLayer, names: dict[str, Any]) -> None:
    routing = names["routing"]
    assert say(layer, routing, "websocket.connect", "/rooms/blue") == [{"accept": True}]
    heard = say(layer, routing, "websocket.receive", "/rooms/blue", text='{"text": "hi"}')
    assert json.loads(heard[0]["text"]) == {"who": "AnonymousUser", "text": "hi"}


def test_the_streams_count_and_echo(layer: InMemoryChannelLayer, names: dict[str, Any]) -> None:
    routing = names["routing"]
    assert say(layer, routing, "websocket.connect", "/streams") == [{"accept": True}]
    for n in (2, 4):
        frame = json.dumps({"stream": "counter", "payload": {"by": 2}})
        answer = {"stream": "counter", "payload": {"n": n}}
        assert json.loads(say(layer, routing, "websocket.receive", "/streams", text=frame)[0]["text"]) == answer
    frame = json.dumps({"stream": "echo", "payload": {"a": 1}})
    assert json.loads(say(layer, routing, "websocket.receive", "/streams", text=frame)[0]["text"]) == json.loads(frame)


def test_the_functions_answer(layer: InMemoryChannelLayer, names: dict[str, Any], tmp_path: Path) -> None:
    use_sessions(path=tmp_path / "sessions.db")
    engine = settings.engine
    assert isinstance(engine, SqliteEngine)
    try:
        names["begin"](Message({"reply_channel": REPLY}, "http.request", layer))
        names["connect"](Message({"reply_channel": REPLY, "headers": []}, "websocket.connect", layer))
        names["receive"](Message({"reply_channel": REPLY}, "websocket.receive", layer))
    finally:
        engine.close()
        settings.engine = None
    answers = [layer.receive(["websocket.send.a!"])[1] for _ in range(3)]
    assert answers[0] is not None
    assert answers[0]["headers"][0][1].startswith(b"sessionid=")
    assert answers[1:] == [{"accept": False}, {"text": "you are AnonymousUser"}]
