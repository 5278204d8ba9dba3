"""
The channel layers of this process, by alias.

Owns who `Channel` and `Group` talk to. A worker puts its own layer here; in any other process the segment is attached to when it
is first used, so that a cron job or a shell needs nothing but a name. The module has its name from Channels 1.x.
"""

import atexit
import os
import threading
import weakref
from typing import Any

from shmchan.layers.base import BaseChannelLayer

DEFAULT_CHANNEL_LAYER = "default"
"""The alias that everything takes unless told otherwise: the instance that ``SHMCHAN_NAME`` names, else ``default``."""


class ChannelLayerManager:
    """
    Layers by alias. ``"default"`` is the instance that ``SHMCHAN_NAME`` names, any other alias the instance of that name.
    """

    def __init__(self) -> None:
        self._layers: dict[str, BaseChannelLayer] = {}
        self._attached: weakref.WeakSet[BaseChannelLayer] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __getitem__(self, alias: str) -> BaseChannelLayer:
        """
        The layer, attached to if it was not yet.

        Raises:
            NoInstance: nothing of this name is running.
        """
        layer = self._layers.get(alias)
        return self._attach(alias) if layer is None else layer

    def __contains__(self, alias: str) -> bool:
        return alias in self._layers

    def is_attached(self, alias: str) -> bool:
        """Whether the layer under an alias is one that was attached to because somebody used it, not one that was put in."""
        return self._layers.get(alias) in self._attached

    def set(self, alias: str, layer: BaseChannelLayer | None) -> BaseChannelLayer | None:
        """Put a layer in, or None to take it out; returns the one that was there before."""
        with self._lock:
            before = self._layers.pop(alias, None)
            if layer is not None:
                self._layers[alias] = layer
        return before

    def forget_attached(self) -> None:
        """In a forked child: what was attached to belongs to the parent, and is attached to anew when it is needed."""
        self._lock = threading.Lock()
        self._layers = {alias: layer for alias, layer in self._layers.items() if layer not in self._attached}
        self._attached = weakref.WeakSet()

    def close_attached(self) -> None:
        """At the end of the interpreter: leave what was attached to, since who goes without a word has died for the others."""
        with self._lock:
            attached = [*self._attached]
            self._layers = {alias: layer for alias, layer in self._layers.items() if layer not in attached}
            self._attached = weakref.WeakSet()
        for layer in attached:
            layer.close()

    def _attach(self, alias: str) -> BaseChannelLayer:
        with self._lock:
            layer = self._layers.get(alias)
            if layer is None:
                from shmchan.layers.shm import ShmChannelLayer

                attach: Any = ShmChannelLayer.attach
                layer = self._layers[alias] = attach(None if alias == DEFAULT_CHANNEL_LAYER else alias)
                self._attached.add(layer)
            return layer


channel_layers = ChannelLayerManager()
"""The layers of this process."""

os.register_at_fork(after_in_child=channel_layers.forget_attached)
atexit.register(channel_layers.close_attached)  # here, so that what applications register runs before it, and may still send


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> BaseChannelLayer:
    """
    The layer of this alias, attached to if it was not yet.

    Raises:
        NoInstance: nothing of this name is running.
    """
    return channel_layers[alias]
