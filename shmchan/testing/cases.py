"""
Test cases for `unittest`: with a layer of their own, or with a real server.

Owns what surrounds each test. Test processes run it.
"""

import unittest
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from shmchan.asgi import DEFAULT_CHANNEL_LAYER
from shmchan.message import Message
from shmchan.testing.client import Client, next_message
from shmchan.testing.layers import own_layer
from shmchan.testing.live import LiveServer


class ChannelTestCase(unittest.TestCase):
    """
    Each test has a layer in a segment of its own.

    Attributes:
        test_channel_aliases: the aliases that get one.
        client_class: of `self.client`.
    """

    test_channel_aliases: ClassVar[tuple[str, ...]] = (DEFAULT_CHANNEL_LAYER,)
    client_class: ClassVar[type[Client]] = Client

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test, surrounded."""
        with ExitStack() as stack:
            for alias in self.test_channel_aliases:
                stack.enter_context(own_layer(alias))
            self.client = self.client_class(self.test_channel_aliases[0])
            return super().run(result)

    def get_next_message(self, channel: str, alias: str = DEFAULT_CHANNEL_LAYER, require: bool = False) -> Message | None:
        """Take the next message of any channel; with ``require`` its absence is a failure."""
        return next_message(channel, alias, require)


class ChannelLiveServerTestCase(unittest.TestCase):
    """
    Each test has a server of its own.

    Attributes:
        app: ``module[:attribute]``; must be set.
        app_dir: folder that it is imported from.
        workers: processes that run consumers.
        options: further ones of the command line.
        live_server: the `LiveServer`.
    """

    app: ClassVar[str] = ""
    app_dir: ClassVar[str | Path] = "."
    workers: ClassVar[int] = 1
    options: ClassVar[tuple[str, ...]] = ()
    live_server: LiveServer

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test, surrounded."""
        if not self.app:
            raise TypeError(f"{type(self).__name__} names no application; give it app = 'module:attribute'")
        with LiveServer(self.app, *self.options, workers=self.workers, app_dir=self.app_dir) as self.live_server:
            return super().run(result)

    @property
    def live_server_url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return self.live_server.url

    @property
    def live_server_ws_url(self) -> str:
        """``ws://127.0.0.1:PORT``."""
        return self.live_server.ws_url
