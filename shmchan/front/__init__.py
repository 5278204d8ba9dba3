"""The front: the only room with sockets, and none with application code."""

from shmchan.front.config import FrontConfig

__all__ = ["FrontConfig"]
