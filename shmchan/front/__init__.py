"""The front: the only room with sockets, and none with application code."""

from shmchan.front.config import FrontConfig
from shmchan.front.server import Front, run_front

__all__ = ["Front", "FrontConfig", "run_front"]
