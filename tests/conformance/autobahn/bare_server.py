"""
The smallest server over ``shmchan.protocol``: echoes every message, with no front, layer or worker between.

Run as ``python bare_server.py``; prints its port, serves on 127.0.0.1 until its standard input ends. It shows whether a failed
case is the protocol's or the way's, and it is how the sans-I/O modules are meant to be driven.
"""

import asyncio
import sys
from typing import cast

import uvloop

from shmchan.protocol.deflate import negotiate
from shmchan.protocol.handshake import accept_response, check_request
from shmchan.protocol.websocket import BytesReceived, TextReceived, WebSocketConnection

MAX_SIZE = 32 << 20


class Echo(asyncio.Protocol):
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.head = b""
        self.connection: WebSocketConnection | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's, which derives from nothing

    def data_received(self, data: bytes) -> None:
        if self.connection is None:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            head, _, data = self.head.partition(b"\r\n\r\n")
            lines = [line.split(b":", 1) for line in head.split(b"\r\n")[1:]]
            handshake = check_request([(name.lower(), value.strip()) for name, value in lines])
            deflate = negotiate(handshake.extensions)
            self.transport.write(accept_response(handshake, deflate=deflate))
            self.connection = WebSocketConnection(now=self.loop.time(), max_size=MAX_SIZE, deflate=deflate)
        self.connection.receive_data(data, self.loop.time())
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.connection is not None:
            self.connection.receive_eof(self.loop.time())
        if self.timer is not None:
            self.timer.cancel()

    def timed_out(self) -> None:
        assert self.connection is not None
        self.connection.handle_timeout(self.loop.time())
        self.flush()

    def flush(self) -> None:
        connection = self.connection
        assert connection is not None
        for event in connection.events():
            if isinstance(event, TextReceived):
                connection.send_text(event.text)
            elif isinstance(event, BytesReceived):
                connection.send_bytes(event.data)
        self.transport.write(connection.data_to_send())
        if connection.finished:
            self.transport.close()
            return
        deadline = connection.next_deadline()
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None if deadline is None else self.loop.call_at(deadline, self.timed_out)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
