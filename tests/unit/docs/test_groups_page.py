"""The class in docs/groups.md does what the page says: who comes is seen, what was missed comes."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shmchan.auth import set_user_loader
from shmchan.testing import Client, WSClient, apply_routes

PAGE = Path(__file__).parents[3] / "docs" / "groups.md"


def test_a_class_keeps_what_was_sent_and_shows_who_is_there() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    first = next(block for block in blocks if "import resume" in block)
    second = next(block for block in blocks if "class Rooms" in block)
    names: dict[str, Any] = {"__name__": "groups_page"}
    exec(compile(first + second, str(PAGE), "exec"), names)
    with apply_routes(names["routing"]):
        client = Client()
        path = "/rooms/lobby"
        client.send_and_consume("websocket.connect", {"path": path})
        assert client.receive() == {"accept": True}
        start = names["room_of"]("lobby").since(None, 0)
        client.send_and_consume("websocket.receive", {"path": path, "text": '{"say":"hello"}'})
        heard = client.receive()
        assert (heard["text"], heard["history"]["offset"]) == ('{"say": "hello"}', 1)
        question = {"shmchan": {"resume": {"room-lobby": {"epoch": start.epoch, "offset": start.offset}, "other": None}}}
        client.send_and_consume("websocket.receive", {"path": path, "text": json.dumps(question)})
        answers = [json.loads(client.receive()["text"]) for _ in range(2)]
        assert answers[0]["resumed"] == [[1, {"text": '{"say": "hello"}'}]]
        assert answers[1] == {"shmchan": {"group": "other", "refused": True}}
        set_user_loader(lambda user_id: SimpleNamespace(id=user_id))
        try:
            somebody = WSClient()
            somebody.login(7)
            somebody.send_and_consume("websocket.connect", path=path)
        finally:
            set_user_loader(None)
        assert [*names["room_of"]("lobby").members()] == [7]
