"""
Long bodies through a worker, both ways: the memory of front and worker stays as it is, and who does not read is waited for.

50 MiB each way; `make stream` sets STREAM_MIB to 2048 and shows what was measured.
"""

import http.client
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shmchan.layers import ShmChannelLayer
from tests.servers import ROOT, WATCHDOG, Server, StartServer, wait_for

MEBIBYTES = int(os.environ.get("STREAM_MIB", "50"))
MIB = 1 << 20
GROWTH = 16 * MIB  # bytes that a process may grow by; who buffers a body grows by its length
STALLED = 64 * MIB  # of a body that nobody takes: more than the kernel keeps for two sockets
STILL = 12  # refusals, with nothing going on in between, after which somebody is blocked


class River:
    """The application of long bodies, served; and what it noted."""

    def __init__(self, start: StartServer, folder: Path, *options: str) -> None:
        self.folder = folder / "river"
        self.server = start(
            *options,
            "--app-dir",
            str(ROOT / "tests" / "projects"),
            "--max-body-size",
            f"{max(MEBIBYTES, 64) + 1}MiB",
            app="river",
            env={"RIVER_FOLDER": str(self.folder)},
        )

    def noted(self, name: str) -> str:
        """The text of a note, once there is one."""
        path = self.folder / name
        wait_for(f"the note {name!r}", path.exists, self.server.log)
        return path.read_text()

    def go(self) -> None:
        (self.folder / "go").touch()

    @contextmanager
    def client(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WATCHDOG)
        try:
            yield connection
        finally:
            connection.close()

    def neighbours_are_served(self) -> None:
        with self.client() as connection:
            for _ in range(100):
                connection.request("GET", "/")
                response = connection.getresponse()
                assert response.status == 200
                response.read()

    def wait_until_blocked(self, channel: str, going: Callable[[], object]) -> None:
        """Return when a channel refused again and again while ``going`` stayed the same."""
        with ShmChannelLayer.attach(self.server.name) as layer:
            seen: list[object] = []

            def is_blocked() -> bool:
                now = (going(), layer.channel_statistics(channel)["channel_full_count"])
                if not seen or seen[0] != now[0]:
                    seen[:] = now
                return int(now[1]) >= int(str(seen[1])) + STILL

            wait_for("somebody to be blocked", is_blocked, self.server.log)


class Memory:
    """What each process of a server has for itself: pages that are not shared, so without the segment."""

    def __init__(self, server: Server) -> None:
        self.processes = {kind: next(iter(server.children(kind).values())) for kind in ("front", "worker")}
        self.before = self.now()
        self.peak = dict(self.before)

    def now(self) -> dict[str, int]:
        infos = {kind: process.memory_info() for kind, process in self.processes.items()}
        return {kind: info.rss - info.shared for kind, info in infos.items()}

    @contextmanager
    def watched(self) -> Iterator[None]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                for kind, size in self.now().items():
                    self.peak[kind] = max(self.peak[kind], size)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def assert_flat(self) -> None:
        growth = {kind: self.peak[kind] - self.before[kind] for kind in self.peak}
        assert max(growth.values()) < GROWTH, growth


def pieces(mebibytes: int) -> Iterator[bytes]:
    for number in range(mebibytes * 16):
        yield number.to_bytes(8, "big") * (1 << 13)


def checksum(data: Iterator[bytes]) -> int:
    check = 0
    for piece in data:
        check = zlib.crc32(piece, check)
    return check


def download(river: River, mebibytes: int) -> float:
    """Returns the seconds that it took."""
    with river.client() as connection:
        begun = time.monotonic()
        connection.request("GET", f"/down/{mebibytes}")
        response = connection.getresponse()
        size = check = 0
        buffer = bytearray(MIB)
        while count := response.readinto(buffer):
            size += count
            check = zlib.crc32(memoryview(buffer)[:count], check)
        seconds = time.monotonic() - begun
    assert size == mebibytes * MIB
    assert check == checksum(pieces(mebibytes))
    return seconds


def upload(river: River, mebibytes: int, path: str = "/up") -> float:
    """Returns the seconds that it took."""
    with river.client() as connection:
        begun = time.monotonic()
        connection.request("PUT", path, pieces(mebibytes), {"Content-Length": str(mebibytes * MIB)})
        answer = connection.getresponse().read()
        seconds = time.monotonic() - begun
    assert answer.decode() == f"{mebibytes * MIB} {checksum(pieces(mebibytes))}"
    return seconds


@pytest.mark.timeout(120 + MEBIBYTES)
@pytest.mark.parametrize("transfer", [download, upload])
def test_the_memory_of_both_processes_is_flat(
    server: StartServer, tmp_path: Path, transfer: Callable[[River, int], float]
) -> None:
    river = River(server, tmp_path, "--workers", "1")
    transfer(river, 8)  # what is allocated once
    memory = Memory(river.server)
    with memory.watched():
        seconds = transfer(river, MEBIBYTES)
    told = "; ".join(
        f"{kind} {memory.before[kind] / MIB:.1f} MiB before, {memory.peak[kind] / MIB:.1f} at most, {size / MIB:.1f} after"
        for kind, size in memory.now().items()
    )
    print(f"{transfer.__name__} of {MEBIBYTES} MiB: {MEBIBYTES / seconds:.0f} MiB/s; {told}")
    memory.assert_flat()


def read_head(sock: socket.socket) -> bytes:
    """Read a response's head; returns what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(4096)
        assert more, data
        data += more
    return data.partition(b"\r\n\r\n")[2]


def connect(river: River) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", river.server.port), timeout=WATCHDOG)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    return sock


def test_a_client_that_stops_reading_stops_the_sending_and_nobody_else(server: StartServer, tmp_path: Path) -> None:
    river = River(server, tmp_path, "--workers", "2")
    river.neighbours_are_served()
    memory = Memory(river.server)
    with connect(river) as slow, memory.watched():
        slow.sendall(b"GET /down/%d?noted HTTP/1.0\r\n\r\n" % (STALLED // MIB))
        rest = read_head(slow)
        river.wait_until_blocked(river.noted("channel"), lambda: river.noted("sent"))
        assert int(river.noted("sent")) < STALLED
        river.neighbours_are_served()
        assert int(river.noted("sent")) < STALLED
        size, check = len(rest), zlib.crc32(rest)
        while data := slow.recv(1 << 16):
            size += len(data)
            check = zlib.crc32(data, check)
    assert (size, check) == (STALLED, checksum(pieces(STALLED // MIB)))
    memory.assert_flat()


def test_a_worker_that_waits_for_a_client_hears_that_it_left(server: StartServer, tmp_path: Path) -> None:
    river = River(server, tmp_path, "--workers", "1")
    with connect(river) as leaving:
        leaving.sendall(b"GET /down/%d?noted HTTP/1.0\r\n\r\n" % (STALLED // MIB))
        read_head(leaving)
        river.wait_until_blocked(river.noted("channel"), lambda: river.noted("sent"))
    assert int(river.noted("closed")) < STALLED
    river.server.wait_for_print("the client left in the middle of its request")
    river.neighbours_are_served()  # by the same worker


def test_an_upload_that_nobody_reads_stops_its_client_and_nobody_else(server: StartServer, tmp_path: Path) -> None:
    river = River(server, tmp_path, "--workers", "2")
    river.neighbours_are_served()
    memory = Memory(river.server)
    sent = [0]
    answers = []

    def counted() -> Iterator[bytes]:
        for piece in pieces(STALLED // MIB):
            yield piece
            sent[0] += len(piece)

    def send() -> None:
        with river.client() as connection:
            connection.request("PUT", "/up?noted", counted(), {"Content-Length": str(STALLED)})
            answers.append(connection.getresponse().read())

    client = threading.Thread(target=send)
    with memory.watched():
        client.start()
        try:
            river.wait_until_blocked(river.noted("channel"), lambda: sent[0])
            assert sent[0] < STALLED
            river.neighbours_are_served()
            assert sent[0] < STALLED
        finally:
            river.go()
            client.join(WATCHDOG)
    assert answers == [b"%d %d" % (STALLED, checksum(pieces(STALLED // MIB)))]
    memory.assert_flat()


def test_a_worker_that_reads_an_upload_hears_that_its_client_left(server: StartServer, tmp_path: Path) -> None:
    river = River(server, tmp_path, "--workers", "1")
    with connect(river) as leaving:
        leaving.sendall(b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % STALLED + bytes(2 * MIB))
    river.server.wait_for_print("the client left in the middle of its request")
    river.neighbours_are_served()


def test_a_front_that_dies_frees_the_worker_that_streams(server: StartServer, tmp_path: Path) -> None:
    river = River(server, tmp_path, "--workers", "1")
    with connect(river) as orphan:
        orphan.sendall(b"GET /down/%d?noted HTTP/1.0\r\n\r\n" % (STALLED // MIB))
        read_head(orphan)
        river.wait_until_blocked(river.noted("channel"), lambda: river.noted("sent"))
        (front,) = river.server.children("front").values()
        front.kill()
        assert int(river.noted("closed")) < STALLED
    wait_for("another front", lambda: river.server.children("front").keys() - {front.pid}, river.server.log)
    river.server.wait_for_print("the client left in the middle of its request")
    river.neighbours_are_served()


def test_what_is_measured_would_see_a_buffered_body(server: StartServer, tmp_path: Path) -> None:
    """By an application that reads the whole of it before it looks."""
    river = River(server, tmp_path, "--workers", "1")
    upload(river, 8)
    memory = Memory(river.server)
    with memory.watched():
        upload(river, STALLED // MIB, "/whole")
    assert memory.peak["worker"] - memory.before["worker"] > 2 * GROWTH
    assert memory.peak["front"] - memory.before["front"] < GROWTH
