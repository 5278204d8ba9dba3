"""
A client that speaks HTTP badly, over real sockets, to a front that must answer in HTTP or close, and live.

Requests are made of parts that are mostly right, so that what is wrong comes late enough to matter; some ask for a WebSocket and
go on in frames. Then bytes are changed, doubled or lost, and written in pieces.
"""

import contextlib
import random
import re
import socket
import time

from shmchan.layers.memory import InMemoryChannelLayer
from tests.unit.front.harness import Message, Server
from tests.unit.protocol.reference import client_frame

LINES = [
    b"GET / HTTP/1.1",
    b"POST /path?query=%20 HTTP/1.1",
    b"HEAD /%zz HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET http://host/ HTTP/1.1",
    b"CONNECT host:1 HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET / HTTP/2.0",
    b"GET /",
    b"G@T / HTTP/1.1",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"\x16\x03\x01\x02\x00",
]
HEADERS = [
    b"Host: localhost",
    b"Host: localhost",
    b"Host: a, b",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Version: 8",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"Sec-WebSocket-Protocol: chat",
    b"Content-Length: 5",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 5, 5",
    b"Content-Length: 99999999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Expect: 100-continue",
    b"Origin: null",
    b"Cookie: " + b"c" * 3000,
    b" folded",
    b"NoColon",
    b"Space : before",
    b"\x00: nul",
    b"X: \xff\xfe",
]
UPGRADE = [b"GET /ws HTTP/1.1", b"Host: a", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
UPGRADE.append(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;x=y\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"zz\r\n",
    b"0\r\n",
]
STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d) [^\r\n]*\r\n((?:[!-9;-~]+:[^\r\n\x00]*\r\n)*)\r\n")


def _request(dice: random.Random) -> bytes:
    if dice.random() < 0.3:
        data = b"\r\n".join(UPGRADE) + b"\r\n\r\n"
        for _ in range(dice.randrange(4)):
            opcode = dice.choice((1, 1, 2, 0, 8, 9, 10, 3))
            data += client_frame(opcode, dice.choice((b"", b"hi", b"\xff", b"x" * 200)), fin=dice.random() < 0.8)
        return data
    lines = [dice.choice(LINES[:5] if dice.random() < 0.8 else LINES), b"Host: a"]
    lines += dice.sample(HEADERS, dice.randrange(5))
    return b"\r\n".join(lines) + b"\r\n\r\n" + dice.choice(BODIES)


def _stream(dice: random.Random) -> bytes:
    data = bytearray(b"".join(_request(dice) for _ in range(dice.randrange(1, 4))))
    for _ in range(dice.choice((0, 0, 0, 1, 3))):
        at, how = dice.randrange(len(data)), dice.randrange(4)
        if how == 0:
            data[at] = dice.randrange(256)
        elif how == 1:
            data[at:at] = data[: dice.randrange(20)]
        elif how == 2:
            del data[at : at + dice.randrange(1, 9)]
        else:
            data[at:at] = dice.choice((b"\r\n", b"\n", b"\r", b"\x00", b" "))
    return bytes(data)


def _is_http(answer: bytes) -> bool:
    """Whether these bytes are whole responses one after the other; behind a 101 come frames, which are not looked at."""
    while answer:
        head = STATUS.match(answer)
        if head is None:
            return False
        status, headers, answer = head[1], head[2].lower(), answer[head.end() :]
        length = re.search(rb"^content-length:\s*(\d+)\s*$", headers, re.MULTILINE)
        if status == b"101":
            return True
        if status[:1] == b"1" or answer.startswith(b"HTTP/1."):  # without a body, or the answer to HEAD
            continue
        if length:
            answer = answer[int(length[1]) :] if len(answer) >= int(length[1]) else b""
        elif b"transfer-encoding: chunked" in headers:
            while (size := re.match(rb"([0-9a-f]+)\r\n", answer)) is not None:
                answer = answer[size.end() + int(size[1], 16) + 2 :]
                if int(size[1], 16) == 0:
                    break
        else:
            return True  # up to the close
    return True


def _talk(server: Server, data: bytes, dice: random.Random) -> bytes:
    """Write it in pieces, stop writing, and read what comes until the server closes, or leave in the middle."""
    answer = b""
    with server.connect() as client:
        try:
            at = 0
            while at < len(data):
                end = at + dice.choice((1, 20, 200, 5000, 50000))
                client.sendall(data[at:end])
                at = end
            if dice.random() < 0.1:
                return b""
            with contextlib.suppress(OSError):  # not connected any more: the server was first
                client.shutdown(socket.SHUT_WR)
            while chunk := client.recv(1 << 16):
                answer += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass  # closed while more was on its way
    return answer


def respond(server: Server, message: Message) -> None:
    server.reply(message, {"status": 200, "content": b"hello"})


def front(seconds: float, seed: int) -> str:
    """Talk to a front until the time is over. Raises AssertionError when an answer is not HTTP, or the front fails."""
    dice, begin, done, answered = random.Random(seed), time.monotonic(), 0, 0
    Server.make_layer = staticmethod(InMemoryChannelLayer)
    with Server({"http.request": respond}) as server:
        while time.monotonic() - begin < seconds:
            data = _stream(dice)
            answer = _talk(server, data, dice)
            assert _is_http(answer), f"seed {seed}, case {done}: {data!r} was answered by {answer[:2000]!r}"
            done += 1
            answered += bool(answer)
        alive = server.request(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (alive.status, alive.body) == (200, b"hello")
    spent = time.monotonic() - begin
    return f"{done} connections in {spent:.0f} s, {answered} answered, seed {seed}"
