"""
What a front is told when it starts: limits, time limits and names. Nothing here acts.

The command line and the tests build one, the supervisor hands it to the front process, and nobody changes it afterwards.
"""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class FrontConfig:
    """
    The options of one front. Times are in seconds, sizes in bytes.

    Raises:
        ValueError: a value makes no sense; the text names the option.
    """

    http_timeout: float = 60.0  # until the first response message, then 503
    handshake_timeout: float = 5.0  # until somebody answers websocket.connect, then 504
    websocket_timeout: float | None = None  # age at which a WebSocket is closed with 1001; None: the layer's group_expiry
    receive_timeout: float = 10.0  # how long a full websocket.receive is tried again, then 1013
    head_timeout: float = 10.0  # until a request's head is complete, then 408
    body_timeout: float = 60.0  # silence within a request's body, then 408
    keep_alive_timeout: float = 75.0  # idle between two requests, then closed
    write_timeout: float = 60.0  # a client that takes nothing for so long is cut off
    graceful_timeout: float = 10.0  # what SIGTERM leaves to those who are not done
    ping_interval: float | None = 20.0  # None: no pings
    ping_timeout: float = 30.0
    ws_protocols: tuple[str, ...] = ()  # subprotocols that are agreed on unless the application names one, in order of preference
    ws_max_size: int = MIB  # a longer WebSocket message closes with 1009
    ws_compression: bool = True  # permessage-deflate, where the client offers it
    max_body_size: int = 1 << 30  # a longer request body is a 413
    max_buffered: int = 64 * MIB  # bytes that may wait for one client before it is cut off
    root_path: str = ""  # where the application is mounted: "" or "/app"
    allowed_hosts: tuple[str, ...] = ()  # whose pages may open WebSockets; empty: the Host itself; "*": any
    static: tuple[tuple[str, str], ...] = ()  # URL and folder of the files that the front serves by itself
    js_path: str | None = None  # where the front serves shmchan.js; None: nowhere
    access_log: bool = True
    tick: float = 0.1  # at the latest after this the reply queue is looked at again

    def __post_init__(self) -> None:
        times = ("http_timeout", "handshake_timeout", "receive_timeout", "head_timeout", "body_timeout", "keep_alive_timeout")
        for name in (*times, "write_timeout", "ping_timeout", "ws_max_size", "max_body_size", "max_buffered", "tick"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, it has to be more than 0")
        for name in ("websocket_timeout", "ping_interval"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}, it has to be more than 0, or None")
        if self.graceful_timeout < 0:
            raise ValueError(f"graceful_timeout is {self.graceful_timeout}, it has to be 0 or more")
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise ValueError(f"root_path is {self.root_path!r}, it has to begin with / and not to end with it, like /app")
        urls = [url for url, _ in self.static]
        for url in urls:
            if not _is_path(url) or urls.count(url) > 1:
                raise ValueError(f"static has {url!r}, it has to be a path like /static, each only once")
        if self.js_path is not None and not (_is_path(self.js_path) and self.js_path.endswith(".js")):
            raise ValueError(f"js_path is {self.js_path!r}, it has to be a path that ends in .js, like /shmchan.js")


def _is_path(url: str) -> bool:
    """Whether it is the path of a URL, decoded, in its shortest form."""
    return url == "/" or (url.startswith("/") and not any(name in ("", ".", "..") for name in url[1:].split("/")))
