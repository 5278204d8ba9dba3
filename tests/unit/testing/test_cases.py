"""Test cases of `unittest`, with routes of a class; pytest runs them as they are."""

import pytest

from shmchan import Message, channel_layers, route
from shmchan.testing import ChannelTestCase, WSClient, apply_routes


def connect(message: Message) -> None:
    message.reply_channel.send({"accept": True})
    message.reply_channel.send({"text": '"welcome"'})


class TestPlain(ChannelTestCase):
    test_channel_aliases = ("default", "other")

    def test_there_is_a_layer_for_each_alias(self) -> None:
        assert channel_layers["default"] is not channel_layers["other"]
        channel_layers["other"].send("job", {"n": 1})
        assert self.get_next_message("job") is None
        message = self.get_next_message("job", alias="other", require=True)
        assert message is not None
        assert message["n"] == 1

    def test_absence_fails_where_it_is_required(self) -> None:
        with pytest.raises(AssertionError, match="should be one"):
            self.get_next_message("job", require=True)


@apply_routes([route("websocket.connect", connect)])
class TestRouted(ChannelTestCase):
    client_class = WSClient

    def setUp(self) -> None:
        self.client.send_and_consume("websocket.connect")

    def test_set_up_has_the_routes_too(self) -> None:
        assert self.client.receive() == "welcome"

    def test_every_test_has_a_segment_of_its_own(self) -> None:
        assert channel_layers["default"].global_statistics()["messages_count"] == 3
