"""
Which pages may open a WebSocket here.

A browser lets any page connect to any WebSocket, with the user's cookies, and only says in Origin whose page it is; so the server
has to look. Clients that are no browsers send no Origin and may pass. Pure functions; fronts and workers run them.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit


def origin_allowed(headers: Sequence[Sequence[bytes]], allowed_hosts: Sequence[str]) -> bool:
    """
    Whether the page that a handshake comes from may have it.

    Args:
        headers: ``[name, value]`` in lower case.
        allowed_hosts: host names, ``.example.org`` for it and all below it, ``*`` for any; empty: the name in Host.
    """
    origins = [value for name, value in headers if name == b"origin"]
    if not origins or "*" in allowed_hosts:
        return True
    if len(origins) > 1:
        return False
    host = host_of(origins[0])
    if host is None:
        return False
    if not allowed_hosts:
        return any(name == b"host" and _hostname(b"//" + value) == host for name, value in headers)
    return any(_matches(host, pattern.lower()) for pattern in allowed_hosts)


def refusal(headers: Sequence[Sequence[bytes]], allowed_hosts: Sequence[str]) -> str:
    """What to log of a handshake that `origin_allowed` does not let pass, with the same arguments: what came, and what may."""
    origins = [value for name, value in headers if name == b"origin"]
    came = ", ".join(repr(value[:200].decode("latin-1")) for value in origins[:3])
    if allowed_hosts:
        return f"refused, its Origin is {came}; allowed are {', '.join(allowed_hosts)} (--allowed-hosts)"
    hosts = ", ".join(repr(value[:200].decode("latin-1")) for name, value in headers if name == b"host")
    return f"refused, its Origin is {came}; allowed is its own Host, {hosts}; see --allowed-hosts"


def host_of(origin: bytes) -> str | None:
    """The host of an Origin, in lower case without its port; None for ``null`` and what is malformed or no ASCII."""
    if b"://" not in origin:
        return None
    return _hostname(origin)


def _hostname(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("ascii")).hostname
    except ValueError:  # UnicodeDecodeError is one, and so is a broken IPv6 address
        return None


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("."):
        return host == pattern[1:] or host.endswith(pattern)
    return host == pattern.strip("[]")
