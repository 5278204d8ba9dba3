"""What an application's tests need: clients that consume on the real layer, routes for a test, real servers."""

from shmchan.testing.cases import ChannelLiveServerTestCase, ChannelTestCase
from shmchan.testing.client import Client
from shmchan.testing.layers import apply_routes, own_layer
from shmchan.testing.live import LiveServer
from shmchan.testing.websocket import HttpClient, WSClient

__all__ = [
    "ChannelLiveServerTestCase",
    "ChannelTestCase",
    "Client",
    "HttpClient",
    "LiveServer",
    "WSClient",
    "apply_routes",
    "own_layer",
]
