"""What accepts for the front: who comes in, what happens when nobody can, and what an error of the network does."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop

from shmchan.front.accepting import Acceptor

WATCHDOG = 20.0


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        greeted = cast(asyncio.Transport, transport)
        greeted.write(b"hello")
        greeted.close()


class Failing(socket.socket):
    """A socket that fails to accept as often as it is told."""

    failures: list[int]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            number = self.failures.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


async def ask(listener: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def accepting(failures: list[int], use: Callable[[Acceptor, socket.socket], Awaitable[None]]) -> None:
    """Use an acceptor on a socket that fails so."""

    async def main() -> None:
        listener = Failing(socket.AF_INET, socket.SOCK_STREAM)
        listener.failures = failures
        listener.bind(("127.0.0.1", 0))
        acceptor = Acceptor(asyncio.get_running_loop(), [listener], Greeting)
        acceptor.start()
        try:
            await asyncio.wait_for(use(acceptor, listener), WATCHDOG)
        finally:
            acceptor.stop()
        assert listener.fileno() == -1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.EMFILE, "ulimit"), (errno.ENFILE, "fs.file-max"), (errno.ENOBUFS, "short of memory")]
)
def test_a_client_that_cannot_be_accepted_waits_and_that_is_said_once(
    number: int, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(acceptor: Acceptor, listener: socket.socket) -> None:
        assert await ask(listener) == b"hello"
        assert await ask(listener) == b"hello"

    with caplog.at_level(logging.WARNING, "shmchan.front"):
        accepting([number, number, number], use)
    (warning,) = caplog.messages
    assert "clients wait until others go" in warning
    assert advice in warning


def test_an_error_of_the_network_ends_one_connection_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def use(acceptor: Acceptor, listener: socket.socket) -> None:
        assert await ask(listener) == b"hello"

    accepting([errno.ECONNABORTED, errno.EPROTO], use)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_who_comes_after_the_end_is_refused() -> None:
    async def use(acceptor: Acceptor, listener: socket.socket) -> None:
        assert await ask(listener) == b"hello"
        address = listener.getsockname()
        acceptor.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    accepting([], use)
