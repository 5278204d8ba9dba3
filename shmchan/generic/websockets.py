"""WebSockets as classes; what is where is said in the modules that these names come from."""

from shmchan.generic.consumers import JsonWebsocketConsumer, WebsocketConsumer
from shmchan.generic.multiplexing import WebsocketDemultiplexer, WebsocketMultiplexer

__all__ = ["JsonWebsocketConsumer", "WebsocketConsumer", "WebsocketDemultiplexer", "WebsocketMultiplexer"]
