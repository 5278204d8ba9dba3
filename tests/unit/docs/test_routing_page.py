"""The code in docs/routing.md runs as it stands there."""

import re
from typing import Any

import pytest

from shmchan import Message
from shmchan.exceptions import DenyConnection
from shmchan.layers import InMemoryChannelLayer
from shmchan.routing import Router
from shmchan.testing import Client, apply_routes
from tests.unit.docs.public_names import ROOT

CONNECTION = {"path": "/chat/lobby"}


@pytest.fixture
def page() -> dict[str, Any]:
    """What the page's code defines."""
    text = (ROOT / "docs" / "routing.md").read_text(encoding="utf-8")
    found: dict[str, Any] = {"__name__": "routing_page"}
    exec(compile("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), "docs/routing.md", "exec"), found)
    return found


def test_a_room_hears_what_is_said_and_how_many_words_it_was(page: dict[str, Any], shmchan_client: Client) -> None:
    with apply_routes(page["routing"]):
        shmchan_client.send_and_consume("websocket.connect", CONNECTION)
        assert shmchan_client.receive() == {"accept": True}
        shmchan_client.send_and_consume("websocket.receive", {**CONNECTION, "text": "good morning all"})
        assert shmchan_client.receive() == {"text": "good morning all"}
        shmchan_client.consume("words.count")
        assert shmchan_client.receive() == {"text": "3 words"}
        shmchan_client.send_and_consume("websocket.disconnect", CONNECTION)


def test_nobody_comes_into_the_attic(page: dict[str, Any]) -> None:
    with InMemoryChannelLayer() as layer:
        message = Message({"reply_channel": "websocket.send.a!x", "path": "/chat/attic"}, "websocket.connect", layer)
        found = Router(page["routing"]).match(message)
        assert found is not None
        with pytest.raises(DenyConnection):
            found[0](message, **found[1])
