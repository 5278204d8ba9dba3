"""A real front on a loopback socket, over the in-memory layer, with consumers that are plain functions in one thread."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from shmchan.front import Front, FrontConfig
from shmchan.layers.base import BaseChannelLayer, Outbox
from shmchan.layers.memory import InMemoryChannelLayer

Message = dict[str, Any]
Consumer = Callable[["Server", Message], object]

WATCHDOG = 20.0
CHANNELS = ["http.request", "http.disconnect", "websocket.connect", "websocket.receive", "websocket.disconnect"]


def accept(server: "Server", message: Message) -> None:
    server.reply(message, {"accept": True})


def echo(server: "Server", message: Message) -> None:
    server.reply(message, {key: message[key] for key in ("text", "bytes") if key in message})


class Server:
    """
    Attributes:
        make_layer: the layer to stand on; conftest.py sets it to one after the other.
        seen: every message that a consumer took, in order, as ``(channel, message)``.
    """

    make_layer: Callable[..., BaseChannelLayer] = InMemoryChannelLayer

    def __init__(
        self,
        consumers: dict[str, Consumer] | None = None,
        *,
        unix: str | None = None,
        layer: dict[str, Any] | None = None,
        listen: list[str] | None = None,
        **config: Any,
    ) -> None:
        self.layer = self.make_layer(**(layer or {}))
        self.consumers: dict[str, Consumer] = {"websocket.connect": accept, "websocket.receive": echo, **(consumers or {})}
        self.seen: list[tuple[str, Message]] = []
        self.changed = threading.Condition()
        self.errors: list[BaseException] = []
        self.consuming = threading.Event()
        self.consuming.set()
        self._paused = threading.Event()
        self._channels = CHANNELS if listen is None else listen
        self._outbox = Outbox()
        if unix is None:
            listener = socket.create_server(("127.0.0.1", 0))
            self.address: Any = listener.getsockname()
        else:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(unix)
            listener.listen()
            self.address = unix
        options = {"http_timeout": WATCHDOG, "handshake_timeout": WATCHDOG, "graceful_timeout": WATCHDOG, **config}
        self.front = Front(self.layer, [listener], FrontConfig(**options))
        self._stop = threading.Event()
        self.exit_code: int | None = None
        ready = threading.Event()
        self._front_thread = threading.Thread(target=self._run_front, args=(ready,), daemon=True)
        self._worker_thread = threading.Thread(target=self._run_worker, daemon=True)
        self._worker_thread.start()
        self._front_thread.start()
        assert ready.wait(WATCHDOG)

    def _run_front(self, ready: threading.Event) -> None:
        self.exit_code = self.front.run(ready.set)

    def _run_worker(self) -> None:
        if not self._channels:
            return
        while not self._stop.is_set():
            if not self.consuming.is_set():
                self._paused.set()
                self.consuming.wait(0.05)
                continue
            lease = self.layer.lease(self._channels, 0.02)
            if lease is None:
                continue
            with self.changed:
                self.seen.append((lease.channel, lease.content))
                self.changed.notify_all()
            consumer = self.consumers.get(lease.channel)
            self._outbox = Outbox()
            try:
                if consumer is not None:
                    consumer(self, lease.content)
            except BaseException as error:  # noqa: BLE001 - the test's thread raises it
                self.errors.append(error)
            parked = self.layer.commit(lease, self._outbox)
            while parked is not None and not self.layer.push(parked):
                time.sleep(0.001)

    def reply(self, message: Message, answer: Message) -> None:
        """Send to a message's reply channel when the consumer is over, as `Channel.send` does."""
        self._outbox.channel(message["reply_channel"], self.layer.encode(answer))

    def reply_to_group(self, group: str, answer: Message) -> None:
        self._outbox.group(group, self.layer.encode(answer))

    def pause(self) -> None:
        """Have the worker take nothing until ``consuming`` is set again."""
        self._paused.clear()
        self.consuming.clear()
        assert self._paused.wait(WATCHDOG)

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait for anything, under a watchdog."""
        deadline = time.monotonic() + WATCHDOG
        while not (result := condition()):
            assert time.monotonic() < deadline, f"nothing came of it; seen {self.seen}, errors {self.errors}"
            time.sleep(0.002)
        return result

    def messages(self, channel: str) -> list[Message]:
        with self.changed:
            return [message for name, message in self.seen if name == channel]

    def take(self, channel: str, count: int = 1) -> list[Message]:
        """The first ``count`` messages that came on a channel, once they did."""
        self.wait_for(lambda: len(self.messages(channel)) >= count)
        return self.messages(channel)

    def counted(self, name: str) -> int:
        return self.front.bridge.counters[name]

    def close(self) -> None:
        if self._front_thread.is_alive() and not self.front.stopping:
            self.front.stop_threadsafe()
        self.join()
        self._stop.set()
        self._worker_thread.join(WATCHDOG)
        assert not self._worker_thread.is_alive()
        self.layer.close()
        assert not self.errors, self.errors

    def join(self) -> None:
        """Wait for the front's end. Connections of the test that are still open have to be closed before."""
        self._front_thread.join(WATCHDOG)
        assert not self._front_thread.is_alive(), "the front did not end"
        assert self.counted("errors") == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # Clients ----------------------------------------------------------------------------------------------------------------

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        client.settimeout(WATCHDOG)
        try:
            client.connect(self.address)
        except OSError:
            client.close()
            raise
        return client

    @contextlib.contextmanager
    def client(self) -> Iterator["Client"]:
        with self.connect() as connected:
            yield Client(connected)

    def request(self, data: bytes) -> "Response":
        """Send one request on a connection of its own and read one response."""
        with self.client() as client:
            client.send(data)
            return client.response(head=data.startswith(b"HEAD"))


class Response:
    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, complete: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.complete = complete

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Client:
    """A client that speaks as it is told, byte by byte if need be."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def fill(self) -> bool:
        """Read more; False at the end."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            assert self.fill(), f"the connection ended after {self.buffer!r}"
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            assert self.fill(), f"the connection ended after {self.buffer!r}"
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def rest(self) -> bytes:
        while self.fill():
            pass
        found, self.buffer = self.buffer, b""
        return found

    def head(self) -> tuple[int, list[tuple[str, str]]]:
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:])]
        return int(status), headers

    def response(self, head: bool = False) -> Response:
        status, headers = self.head()
        fields = dict(headers)
        if head or status in (204, 304):
            return Response(status, headers, b"", True)
        if "content-length" in fields:
            length = int(fields["content-length"])
            while len(self.buffer) < length:
                if not self.fill():
                    return Response(status, headers, self.buffer, False)
            return Response(status, headers, self.exactly(length), True)
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                try:
                    size = int(self.until(b"\r\n"), 16)
                except AssertionError:
                    return Response(status, headers, body, False)
                body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
                if size == 0:
                    return Response(status, headers, body, True)
        return Response(status, headers, self.rest(), True)

    # WebSockets: the smallest client, masked with zeros.

    def upgrade(self, path: bytes = b"/chat", *headers: bytes) -> None:
        self.send(handshake(path, *headers))

    def opened(self) -> list[tuple[str, str]]:
        status, headers = self.head()
        assert status == 101, status
        return headers

    def send_frame(self, opcode: int, payload: bytes) -> None:
        self.send(frame(opcode, payload))

    def send_text(self, text: str) -> None:
        self.send_frame(1, text.encode())

    def frame(self) -> tuple[int, bytes]:
        first, second = self.exactly(2)
        assert first & 0x70 == 0
        assert first & 0x80
        length = second
        if second == 126:
            length = int.from_bytes(self.exactly(2), "big")
        elif second == 127:
            length = int.from_bytes(self.exactly(8), "big")
        return first & 0xF, self.exactly(length)

    def text(self) -> str:
        opcode, payload = self.frame()
        assert opcode == 1, (opcode, payload)
        return payload.decode()

    def close_code(self) -> int:
        opcode, payload = self.frame()
        assert opcode == 8, (opcode, payload)
        return int.from_bytes(payload[:2], "big")

    def close(self, code: int = 1000) -> None:
        """Close properly, and wait for the other side's end."""
        self.send_frame(8, code.to_bytes(2, "big"))
        self.rest()


def handshake(path: bytes = b"/chat", *headers: bytes) -> bytes:
    lines = [
        b"GET " + path + b" HTTP/1.1",
        b"Host: example.org:8000",
        b"Upgrade: websocket",
        b"Connection: keep-alive, Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        head = bytes([0x80 | opcode, 0x80 | length])
    elif length < 1 << 16:
        head = bytes([0x80 | opcode, 0xFE]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 0xFF]) + length.to_bytes(8, "big")
    return head + bytes(4) + payload
