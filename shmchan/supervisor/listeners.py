"""
The sockets on which a run listens.

Owns binding them and taking them away again. The supervisor binds, keeps them for as long as the run lasts, and lends them to
each front it starts: clients that come while a front is being replaced wait in the backlog and see no refusal. Never accepts
a connection. Runs in the supervisor; children inherit the sockets by the fork.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable
from typing import Self

from shmchan.exceptions import ShmchanError

BACKLOG = 2048
"""Connections that the kernel holds until a front accepts them (it lowers this to net.core.somaxconn)."""


class CannotListen(ShmchanError):
    """An address is malformed, taken or not ours; the message says which and what to do."""


def parse_bind(text: str) -> tuple[str, int]:
    """
    Take ``HOST:PORT`` apart; IPv6 hosts stand in brackets, port 0 lets the kernel choose.

    Raises:
        CannotListen: it is none, or there is no such port.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host and not bracketed) or not (port.isascii() and port.isdigit()):
        raise CannotListen(f"--bind {text!r} is no HOST:PORT; write it like 127.0.0.1:8000 or [::1]:8000")
    digits = port.lstrip("0") or "0"
    if len(digits) > 5 or int(digits) > 65535:
        raise CannotListen(f"--bind {text!r} has a port out of range; take one from 1 to 65535, or 0 for any that is free")
    return host, int(digits)


def listen_tcp(text: str) -> list[socket.socket]:
    """
    Listen on every address that ``HOST:PORT`` stands for (``localhost`` may be two).

    Raises:
        CannotListen: malformed, unknown, taken, or not allowed.
    """
    host, port = parse_bind(text)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise CannotListen(
            f"--bind {text}: no address is known for {host!r} ({error}); use an address of this machine"
        ) from error
    sockets: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(found):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and sockets:  # the second address of a host takes the port that the kernel chose for the first
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            listener.bind(address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRNOTAVAIL and sockets:
                continue  # localhost has an IPv6 entry in /etc/hosts on machines that have no IPv6
            close_all(sockets)
            raise CannotListen(f"cannot listen on {text}: {_reason(error)}") from error
        sockets.append(listener)
    return sockets


def listen_unix(path: str) -> socket.socket:
    """
    Listen on a Unix socket; one that a killed run left behind is replaced, one that somebody answers on is not.

    Raises:
        CannotListen: taken, no socket, or not allowed.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(path)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on --unix {path}: {_reason(error)}") from error
    except CannotListen:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Unlink a socket file on which nobody listens any more."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"cannot listen on --unix {path}: a file that is no socket has this name; remove it or choose another")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another process listens there; stop it, or choose another address"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; use 127.0.0.1, 0.0.0.0 or one that `ip address` shows"
        case errno.EACCES | errno.EPERM:
            return "not permitted; choose a port above 1023, or a path that you may write to"
        case errno.ENOENT:
            return "its folder does not exist; make it first"
        case _:
            return str(error.strerror or error)


def url_of(listener: socket.socket) -> str:
    """What to type into a browser, or ``unix:PATH``."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close sockets; the files of Unix ones stay (children share them, see `Listeners.remove`)."""
    for listener in sockets:
        listener.close()


class Listeners:
    """
    Everything that a run listens on.

    Args:
        binds: ``HOST:PORT`` each.
        unix: path of a Unix socket.

    Raises:
        CannotListen: one of them cannot be had; those before it are given back.
    """

    def __init__(self, binds: Iterable[str], unix: str | None = None) -> None:
        self.sockets: list[socket.socket] = []
        try:
            for text in binds:
                self.sockets += listen_tcp(text)
            if unix is not None:
                self.sockets.append(listen_unix(unix))
        except CannotListen:
            self.remove()
            raise

    @property
    def urls(self) -> list[str]:
        return [url_of(listener) for listener in self.sockets]

    def close(self) -> None:
        """Drop this process' copies (in a worker, which serves nobody)."""
        close_all(self.sockets)

    def remove(self) -> None:
        """Close them and unlink the files of Unix sockets: the run is over."""
        for listener in self.sockets:
            if listener.family == socket.AF_UNIX and listener.fileno() != -1:
                with contextlib.suppress(FileNotFoundError):  # somebody tidied up before us, which was our aim
                    os.unlink(listener.getsockname())
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
