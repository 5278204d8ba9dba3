"""Message: a dict with channels."""

from typing import Any

import pytest

from shmchan import Channel, Message
from shmchan.layers import InMemoryChannelLayer


def test_a_message_is_looked_into_like_its_dict() -> None:
    message = Message({"text": "x", "n": 1}, "websocket.receive")
    assert message["text"] == "x"
    assert "n" in message
    assert "z" not in message
    assert message.get("z", 5) == 5
    assert (list(message.keys()), list(message.values())) == (["text", "n"], ["x", 1])
    assert dict(message.items()) == dict(message) == message.content
    message["z"] = 2
    assert message.content["z"] == 2
    with pytest.raises(KeyError):
        message["missing"]


def test_its_channels_are_those_of_its_layer() -> None:
    with InMemoryChannelLayer() as layer:
        message = Message({"reply_channel": "r!x"}, "websocket.receive", layer)
        assert message.channel == Channel("websocket.receive", channel_layer=layer)
        assert message.reply_channel == Channel("r!x", channel_layer=layer)
        assert message.reply_channel is message.reply_channel
        assert message.channel_layer is layer


@pytest.mark.parametrize("content", [{}, {"reply_channel": None}, {"reply_channel": ""}])
def test_without_a_reply_channel_it_is_none(content: dict[str, Any]) -> None:
    assert Message(content, "job").reply_channel is None


def test_decorators_may_put_attributes_on_it() -> None:
    message: Any = Message({}, "job")
    message.user = "somebody"
    message.reply_channel = Channel("other")
    assert (message.user, message.reply_channel.name) == ("somebody", "other")


def test_a_copy_is_deep() -> None:
    message = Message({"list": [1]}, "job")
    twin = message.copy()
    twin["list"].append(2)
    twin["more"] = 1
    assert message.content == {"list": [1]}
    assert (twin.content, twin.channel_name) == ({"list": [1, 2], "more": 1}, "job")


def test_content_that_is_no_dict_is_a_type_error() -> None:
    wrong: Any = "text"
    with pytest.raises(TypeError, match="is a dict"):
        Message(wrong, "job")
