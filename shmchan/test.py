"""
The name that `shmchan.testing` has in Channels 1.x.

Owns nothing. Test processes import it.
"""

from shmchan.testing import (
    ChannelLiveServerTestCase,
    ChannelTestCase,
    Client,
    HttpClient,
    LiveServer,
    WSClient,
    apply_routes,
    own_layer,
)

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
