"""The load generator finds what an echo server does wrong. The servers here are small and wrong on purpose."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from shmchan.bench import load
from shmchan.bench.results import Round

Handler = Callable[[ServerConnection], Awaitable[None]]

pytestmark = pytest.mark.skipif(load.missing() is not None, reason="wsload is built with gcc, which is not installed")


@contextmanager
def serving(handler: Handler) -> Iterator[int]:
    """A WebSocket server in a thread; gives its port."""
    loop = asyncio.new_event_loop()
    up = threading.Event()
    ports: list[int] = []
    stop = asyncio.Event()

    async def quietly(connection: ServerConnection) -> None:
        try:
            await handler(connection)
        except ConnectionClosed:
            return

    async def body() -> None:
        async with serve(quietly, "127.0.0.1", 0, compression=None, close_timeout=1) as server:
            ports.append(server.sockets[0].getsockname()[1])
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(body()))
    thread.start()
    try:
        assert up.wait(30)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


async def echo(connection: ServerConnection) -> None:
    async for frame in connection:
        await connection.send(frame)


async def swap_the_first_two(connection: ServerConnection) -> None:
    first, second = await connection.recv(), await connection.recv()
    await connection.send(second)
    await connection.send(first)
    await echo(connection)


async def send_the_first_twice(connection: ServerConnection) -> None:
    first = await connection.recv()
    await connection.send(first)
    await connection.send(first)
    await echo(connection)


def short(port: int, depth: int = 4) -> Round:
    return load.run(port, connections=2, depth=depth, seconds=0.2)


def test_an_honest_echo_has_no_faults() -> None:
    with serving(echo) as port:
        result = short(port)
    assert result.rate
    assert 0 < result.latency_us["p50_us"] <= result.latency_us["p999_us"]
    assert (result.lost, result.duplicated, result.misordered) == (0, 0, 0)


def test_frames_out_of_order_are_counted() -> None:
    with serving(swap_the_first_two) as port:
        assert short(port).misordered > 0


def test_frames_that_come_twice_are_counted() -> None:
    with serving(send_the_first_twice) as port:
        assert short(port, depth=1).duplicated > 0


def test_a_refused_connection_is_an_error_that_says_so() -> None:
    with pytest.raises(load.LoadFailed, match="refused"):
        load.run(1, connections=1, depth=1, seconds=0.1)
