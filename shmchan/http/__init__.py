"""
HTTP for consumers: requests and responses as objects, and WSGI applications as consumers.

Re-exports, no more. `Request` is loaded when it is first asked for: it stands on Werkzeug, which takes 5 MB that a worker of
WebSockets alone does not need.
"""

from typing import TYPE_CHECKING, Any

from shmchan.http.response import TEXT, Response
from shmchan.http.streaming import StreamingResponse
from shmchan.http.wsgi import WsgiConsumer

if TYPE_CHECKING:
    from shmchan.http.request import Request

__all__ = ["TEXT", "Request", "Response", "StreamingResponse", "WsgiConsumer"]


def __getattr__(name: str) -> Any:
    if name == "Request":
        from shmchan.http.request import Request

        return Request
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
