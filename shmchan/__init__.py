"""
shmchan: a multi-process realtime web runtime for one host, in the model of Channels 1.0.
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> Any:
        """``__version__`` and the submodules, when they are asked for: no process waits at its start for what it does not use."""
        if name == "__version__":
            from shmchan.version import installed_version

            globals()[name] = installed_version()
            return globals()[name]
        from importlib import import_module
        from importlib.util import find_spec

        if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module 'shmchan' has no attribute {name!r}")
