"""
shmchan: a multi-process realtime web runtime for one host, in the model of Channels 1.0.
"""

from shmchan.asgi import DEFAULT_CHANNEL_LAYER, channel_layers, get_channel_layer
from shmchan.channel import Channel, Group
from shmchan.message import Message
from shmchan.parallel import parallel
from shmchan.routing import Include, Route, RouteClass, Router, include, route, route_class

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "Channel",
    "Group",
    "Include",
    "Message",
    "Route",
    "RouteClass",
    "Router",
    "channel_layers",
    "get_channel_layer",
    "include",
    "parallel",
    "route",
    "route_class",
]
