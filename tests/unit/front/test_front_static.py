"""Static files through a real front, over loopback sockets."""

import email
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from shmchan.front import files, static
from shmchan.front.files import SMALL
from shmchan.front.static import content_type

from .harness import Client, Message, Response, Server

BIG = 3 << 20
HUGE = 24 << 20  # more than the kernel keeps for a client that takes nothing
LONG_AGO = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to serve, with a file beside it that nobody may see; its files were not changed for long."""
    public = tmp_path / "public"
    (public / "sub").mkdir(parents=True)
    (public / "empty").mkdir()
    (public / "a.txt").write_text("hello")
    (public / "none.txt").write_text("")
    (public / "Grüße & mehr.html").write_text("<p>hi")
    (public / "sub" / "index.html").write_text("sub")
    (public / ".secret").write_text("secret")
    (public / ".well-known").mkdir()
    (public / ".well-known" / "security.txt").write_text("well known")
    (public / "big.bin").write_bytes(os.urandom(BIG))
    (tmp_path / "beside.txt").write_text("secret")
    for file in public.rglob("*"):
        os.utime(file, (LONG_AGO, LONG_AGO))
    return public


def application(server: Server, message: Message) -> None:
    server.reply(message, {"status": 200, "content": b"the application: " + message["path"].encode()})


def serve(folder: Path, **config: object) -> Server:
    return Server({"http.request": application}, **{"static": (("/s", str(folder)),), **config})  # type: ignore[arg-type]


def get(server: Server, path: str, *headers: str, method: str = "GET") -> Response:
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *headers]
    return server.request("\r\n".join([*lines, "", ""]).encode())


def test_a_file_is_served_with_what_a_cache_needs(folder: Path) -> None:
    with serve(folder) as server:
        response = get(server, "/s/a.txt?v=1")
        assert (response.status, response.body) == (200, b"hello")
        assert dict(response.headers) == {
            "etag": response.get("etag"),
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
            "last-modified": "Sun, 09 Sep 2001 01:46:40 GMT",
            "accept-ranges": "bytes",
            "content-type": "text/plain; charset=utf-8",
            "content-length": "5",
            "date": response.get("date"),
        }
        assert get(server, "/s/none.txt").body == b""
        assert get(server, "/s/Gr%C3%BC%C3%9Fe%20&%20mehr.html").body == b"<p>hi"
        assert get(server, "/s/.well-known/security.txt").body == b"well known"
        assert server.counted("static") == 4
        assert server.messages("http.request") == []


def test_the_application_has_every_other_path(folder: Path) -> None:
    with serve(folder) as server:
        assert get(server, "/").body == b"the application: /"
        assert get(server, "/stuff").body == b"the application: /stuff"
        assert get(server, "*", method="OPTIONS").body == b"the application: *"


def test_head_says_as_much_and_sends_nothing(folder: Path) -> None:
    with serve(folder) as server:
        for path in ("/s/a.txt", "/s/big.bin"):
            whole, head = get(server, path), get(server, path, method="HEAD")
            assert (head.status, head.body) == (200, b"")
            assert [field for field in head.headers if field[0] != "date"] == [
                field for field in whole.headers if field[0] != "date"
            ]
        assert get(server, "/s/a.txt", "Range: bytes=0-1", method="HEAD").get("content-length") == "5"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PURGE"])
def test_files_can_only_be_read(folder: Path, method: str) -> None:
    with serve(folder) as server:
        response = get(server, "/s/a.txt", method=method)
        assert (response.status, response.get("allow")) == (405, "GET, HEAD")


def test_an_upload_to_a_file_is_answered_and_the_connection_ends(folder: Path) -> None:
    with serve(folder) as server, server.client() as client:
        client.send(b"PUT /s/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + bytes(2_000_000))
        response = client.response()
        assert (response.status, response.get("connection")) == (405, "close")


def test_folders_have_an_index_or_nothing(folder: Path) -> None:
    with serve(folder) as server:
        assert get(server, "/s/sub/").body == b"sub"
        assert get(server, "/s/sub/").get("content-type") == "text/html; charset=utf-8"
        for path in ("/s/", "/s/empty/"):
            assert get(server, path).status == 404
        for path, place in (("/s", "/s/"), ("/s/sub", "/s/sub/"), ("/s/sub?a=1&b", "/s/sub/?a=1&b"), ("/s/empty", "/s/empty/")):
            response = get(server, path)
            assert (response.status, response.get("location")) == (301, place)


@pytest.mark.parametrize(
    "path",
    [
        "/s/../beside.txt",
        "/s/%2e%2e/beside.txt",
        "/s/%2E./beside.txt",
        "/s/..%2fbeside.txt",
        "/s/sub/../../beside.txt",
        "/s/sub/..",
        "/s/./a.txt",
        "/s//a.txt",
        "/s//../beside.txt",
        "/s/%2fetc/passwd",
        "/s/%00",
        "/s/a.txt%00.html",
        "/s/a.txt/",
        "/s/a.txt/b",
        "/s/.secret",
        "/s/sub/.well-known/x",
        "/s/..%c0%af..%c0%afbeside.txt",
        "/s/..\\beside.txt",
        "/s/" + "x" * 300,
        "/s/" + "x/" * 3000,
        "/s/none",
        "/s/fifo",
        "/s/socket",
        "/s/outside",
        "/s/outside.txt",
        "/s/loop",
    ],
)
def test_nothing_else_is_served(folder: Path, path: str) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "outside").symlink_to(folder.parent)
    (folder / "outside.txt").symlink_to("../beside.txt")
    (folder / "loop").symlink_to("loop")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.close()
    with serve(folder) as server:
        response = get(server, path)
        assert (response.status, b"secret" in response.body) == (404, False)
        assert server.messages("http.request") == []


def test_a_link_that_leads_out_is_told_in_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "outside").symlink_to(folder.parent)
    with serve(folder) as server:
        assert get(server, "/s/outside/beside.txt").status == 404
    assert "leads out of" in caplog.text


def test_links_within_the_folder_and_to_the_folder_are_followed(folder: Path) -> None:
    (folder / "again.txt").symlink_to("a.txt")
    current = folder.parent / "current"
    current.symlink_to("public")
    with serve(current) as server:
        assert get(server, "/s/again.txt").body == b"hello"
        other = folder.parent / "other"
        other.mkdir()
        (other / "again.txt").write_text("the next release")
        (folder.parent / "new").symlink_to("other")
        (folder.parent / "new").rename(current)
        assert get(server, "/s/again.txt").body == b"the next release"


def test_what_cannot_be_opened_says_why(folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(number: int) -> Callable[..., int]:
        really = os.open

        def fail(path: object, *args: object, **given: object) -> int:
            if path == str(folder):
                raise OSError(number, os.strerror(number))
            return really(path, *args, **given)  # type: ignore[arg-type]

        return fail

    with serve(folder) as server:
        for number, status in ((13, 403), (24, 503), (2, 404)):
            with monkeypatch.context() as patched:
                patched.setattr(os, "open", failing(number))
                response = get(server, "/s/a.txt")
            assert response.status == status
        assert get(server, "/s/a.txt").status == 200
    assert "Permission denied" in caplog.text
    assert "Too many open files" in caplog.text


def test_a_client_that_has_it_is_not_sent_it_again(folder: Path) -> None:
    with serve(folder) as server:
        first = get(server, "/s/big.bin")
        for header in (f"If-None-Match: {first.get('etag')}", f"If-Modified-Since: {first.get('last-modified')}"):
            again = get(server, "/s/big.bin", header)
            assert (again.status, again.body, again.get("etag")) == (304, b"", first.get("etag"))
            assert again.get("content-length") is None
        assert get(server, "/s/big.bin", 'If-Match: "other"').status == 412
        assert get(server, "/s/big.bin", 'If-None-Match: "other"').body == first.body
        (folder / "big.bin").write_bytes(b"new")
        assert get(server, "/s/big.bin", f"If-None-Match: {first.get('etag')}").body == b"new"


def test_the_tag_is_weak_while_the_file_may_still_change_within_one_tick(folder: Path) -> None:
    with serve(folder) as server:
        assert str(get(server, "/s/a.txt").get("etag")).startswith('"')
        soon = time.time() + 1000
        os.utime(folder / "a.txt", (soon, soon))
        response = get(server, "/s/a.txt")
        assert str(response.get("etag")).startswith('W/"')
        assert response.get("last-modified") <= response.get("date")  # type: ignore[operator]
        assert get(server, "/s/a.txt", "Range: bytes=0-1", f"If-Range: {response.get('etag')}").status == 200


@pytest.mark.parametrize("name", ["a.txt", "big.bin"])
def test_a_part_is_served(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    with serve(folder) as server:
        for asked, part, where in (
            ("1-3", content[1:4], "1-3"),
            ("2-", content[2:], f"2-{len(content) - 1}"),
            ("-2", content[-2:], f"{len(content) - 2}-{len(content) - 1}"),
        ):
            response = get(server, f"/s/{name}", f"Range: bytes={asked}")
            assert (response.status, response.body) == (206, part)
            assert response.get("content-range") == f"bytes {where}/{len(content)}"
        none = get(server, f"/s/{name}", f"Range: bytes={len(content)}-")
        assert (none.status, none.get("content-range")) == (416, f"bytes */{len(content)}")
        assert get(server, f"/s/{name}", "Range: bytes=3-1").body == content
        tag = get(server, f"/s/{name}", method="HEAD").get("etag")
        assert get(server, f"/s/{name}", "Range: bytes=1-3", f"If-Range: {tag}").status == 206
        assert get(server, f"/s/{name}", "Range: bytes=1-3", 'If-Range: "old"').body == content


@pytest.mark.parametrize(("name", "asked"), [("a.txt", "0-1,4-4"), ("big.bin", "0-9,100000-2000000,-5")])
def test_several_parts_are_served(folder: Path, name: str, asked: str) -> None:
    content = (folder / name).read_bytes()
    with serve(folder) as server:
        response = get(server, f"/s/{name}", f"Range: bytes={asked}")
        assert response.status == 206
        whole = b"Content-Type: " + str(response.get("content-type")).encode() + b"\r\n\r\n" + response.body
        parts = email.message_from_bytes(whole).get_payload()
        assert isinstance(parts, list)
        for part, text in zip(parts, asked.split(","), strict=True):
            assert isinstance(part, email.message.Message)
            first, last = (len(content) - 5, len(content) - 1) if text == "-5" else map(int, text.split("-"))
            assert part["content-range"] == f"bytes {first}-{last}/{len(content)}"
        first, last = map(int, asked.split(",")[1].split("-"))
        assert b"\r\n\r\n" + content[first : last + 1] + b"\r\n--" in response.body


def test_the_connection_goes_on_after_small_and_large_files(folder: Path) -> None:
    content = (folder / "big.bin").read_bytes()
    paths = [
        "/s/big.bin",
        "/s/a.txt",
        "/x",
        "/s/nothing",
        "/s/big.bin",
        "/s/a.txt",
        "/s/a.txt",
        "/y",
        "/s/none.txt",
        "/s/big.bin",
    ]
    expected = [content, b"hello", b"the application: /x", b"404 Not Found\n", content, b"hello", b"hello"]
    expected += [b"the application: /y", b"", content]
    with serve(folder) as server, server.client() as client:
        client.send(b"".join(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in paths))
        assert [client.response().body for _ in paths] == expected
        client.send(b"GET /s/big.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        response = client.response()
        assert (response.body, response.get("connection")) == (content, "close")
        assert client.rest() == b""
        assert server.counted("connections") == 1


def test_an_old_client_and_one_on_a_unix_socket_get_it_too(folder: Path, tmp_path: Path) -> None:
    with serve(folder, unix=str(tmp_path / "unix")) as server, server.client() as client:
        client.send(b"GET /s/big.bin HTTP/1.0\r\n\r\n")
        assert client.rest().partition(b"\r\n\r\n")[2] == (folder / "big.bin").read_bytes()


@pytest.mark.parametrize("name", ["_read", "_is_cached"])
def test_a_small_file_that_cannot_be_read_is_a_503(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with serve(folder) as server, server.client() as client:
        client.send(b"GET /s/none.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 200
        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patched:
            patched.setattr(files, name, broken)
            client.send(b"GET /s/a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.response().status == 503
        assert len(os.listdir("/proc/self/fd")) == before
        assert "its file cannot be read: Input/output error" in caplog.text
        client.send(b"GET /s/a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().body == b"hello"


def test_one_client_with_many_requests_lets_others_in_between(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    open_it = static.Folder.open

    def noted(self: static.Folder, path: str, codings: frozenset[bytes]) -> static.OpenFile:
        turns.append(path)
        server.front.loop.call_soon(turns.append, "others")
        return open_it(self, path, codings)

    monkeypatch.setattr(static.Folder, "open", noted)
    with serve(folder) as server, server.client() as client:
        client.send(b"".join(b"GET /s/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(200)))
        assert [client.response().status for _ in range(200)] == [404] * 200
    assert [turn for turn in turns if turn != "others"] == [f"/s/{number}" for number in range(200)]
    assert all("others" in pair for pair in pairwise(turns))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def take(client: Client) -> tuple[int, bool]:
    """Read a response: how long its content is, and whether that is all."""
    fields = dict(client.head()[1])
    left = int(fields["content-length"])
    taken = min(len(client.buffer), left)
    client.buffer = client.buffer[taken:]
    while taken < left and (data := client.socket.recv(min(left - taken, 1 << 18))):
        taken += len(data)
    return taken, taken == left


def stall(server: Server, client: Client, path: str = "/s/huge.bin") -> None:
    """Ask for a file and take nothing of it, until the kernel takes nothing more for us."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    sent = -1

    def stands() -> bool:
        nonlocal sent
        before, sent = sent, sum(connection.http.sent_bytes for connection in server.front.bridge.connections)
        time.sleep(0.05)
        return sent > 0 and before == sent

    server.wait_for(stands)


@pytest.fixture
def huge(folder: Path) -> Path:
    """A file that no buffer takes, of holes."""
    path = folder / "huge.bin"
    path.touch()
    os.truncate(path, HUGE)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_a_client_that_takes_nothing_costs_no_memory_and_delays_nobody(folder: Path, huge: Path) -> None:
    with serve(folder) as server, server.client() as slow:
        stall(server, slow)
        (connection,) = server.front.bridge.connections
        assert connection._transport.get_write_buffer_size() == 0
        assert get(server, "/s/big.bin").body == (folder / "big.bin").read_bytes()
        assert get(server, "/x").body == b"the application: /x"
        assert take(slow) == (HUGE, True)
        slow.send(b"GET /s/a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        assert slow.response().body == b"hello"


def test_many_small_files_that_nobody_takes_are_not_kept_in_memory(folder: Path) -> None:
    (folder / "small.bin").write_bytes(bytes(SMALL))
    count = 400
    with serve(folder) as server, server.client() as client:
        client.send(b"GET /s/small.bin HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        server.wait_for(lambda: server.counted("static") > 1)
        (connection,) = server.front.bridge.connections
        assert connection._transport.get_write_buffer_size() <= SMALL + 1000
        for _ in range(count):
            assert len(client.response().body) == SMALL


@pytest.mark.parametrize("end", ["leaves", "stays"])
def test_a_download_that_ends_early_leaves_nothing_open(folder: Path, huge: Path, end: str) -> None:
    with serve(folder, write_timeout=0.2 if end == "stays" else 60.0) as server:
        get(server, "/s/a.txt")
        server.wait_for(lambda: not server.front.bridge.connections)
        before = open_files()
        with server.client() as client:
            stall(server, client)
            if end == "stays":
                server.wait_for(lambda: server.counted("timeout.write") == 1)
                server.wait_for(lambda: not server.front.bridge.connections)
        server.wait_for(lambda: not server.front.bridge.connections)
        server.wait_for(lambda: open_files() <= before)


@pytest.mark.parametrize("change", ["shorter", "other"])
def test_a_file_that_is_spoilt_while_it_is_sent_is_cut_off(
    folder: Path, huge: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(folder) as server, server.client() as client:
        stall(server, client)
        if change == "shorter":
            os.truncate(huge, 1000)
        else:
            with huge.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"x")
        length, complete = take(client)
        assert (length < HUGE, complete) == (True, False)
        assert server.counted("cut.changed") == 1
        assert get(server, "/s/a.txt").body == b"hello"
    assert "by renaming" in caplog.text


@pytest.mark.parametrize("name", ["a.txt", "big.bin"])
def test_what_is_not_in_memory_is_read_by_a_thread(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[int, int]] = []
    load = files._load

    def slow_disk(fd: int, span: tuple[int, int]) -> None:
        assert threading.current_thread() not in (threading.main_thread(), server._front_thread)
        loaded.append(span)
        load(fd, span)

    size = (folder / name).stat().st_size
    monkeypatch.setattr(files, "_load", slow_disk)
    monkeypatch.setattr(files, "_is_cached", lambda fd, piece: isinstance(piece, bytes) or files._next(piece) in loaded)
    with serve(folder) as server, server.client() as client:
        client.send(f"GET /s/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 2)
        assert [take(client), take(client)] == [(size, True), (size, True)]
    assert loaded[-1][1] == size


def test_a_disk_that_fails_or_is_slower_than_the_client_is_no_harm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, began = threading.Event(), threading.Event()

    def broken(fd: int, span: tuple[int, int]) -> None:
        began.set()
        assert go.wait(20)
        os.close(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "_load", broken)
    monkeypatch.setattr(files, "_is_cached", lambda fd, piece: False)
    with serve(folder) as server:
        with server.client() as client:
            client.send(b"GET /s/big.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            assert began.wait(20)
        server.wait_for(lambda: not server.front.bridge.connections)
        go.set()
        with server.client() as client:
            client.send(b"GET /s/big.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            assert take(client) == (0, False)
        assert server.counted("cut.changed") == 1


def test_a_real_file_that_was_dropped_from_memory_is_served(folder: Path) -> None:
    content = (folder / "big.bin").read_bytes()
    with serve(folder) as server:
        for _ in range(3):
            descriptor = os.open(folder / "big.bin", os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
            assert get(server, "/s/big.bin").body == content
            assert get(server, "/s/big.bin", "Range: bytes=5-9,2000000-").status == 206


@pytest.mark.parametrize("change", ["longer", "replaced", "removed"])
def test_a_file_that_grows_or_is_replaced_is_sent_as_it_was(folder: Path, huge: Path, change: str) -> None:
    with serve(folder) as server, server.client() as client:
        stall(server, client)
        if change == "longer":
            with huge.open("ab") as file:
                file.write(b"more")
        elif change == "replaced":
            (folder / "new").write_bytes(b"new")
            (folder / "new").rename(huge)
        else:
            huge.unlink()
        assert take(client) == (HUGE, True)
        assert server.counted("cut.changed") == 0


def test_stopping_finishes_a_download(folder: Path, huge: Path) -> None:
    with serve(folder) as server, server.client() as client:
        stall(server, client)
        server.front.stop_threadsafe()
        server.wait_for(lambda: server.front.stopping)
        assert take(client) == (HUGE, True)
        assert client.rest() == b""
        server.join()
        assert server.exit_code == 0


def test_a_compressed_file_is_sent_to_who_takes_it(folder: Path) -> None:
    (folder / "a.txt.gz").write_bytes(b"gzip of it")
    (folder / "a.txt.br").write_bytes(b"brotli of it")
    with serve(folder) as server:
        for accepted, body, coding in (
            ("gzip, deflate, br", b"brotli of it", "br"),
            ("gzip", b"gzip of it", "gzip"),
            ("br;q=0, gzip", b"gzip of it", "gzip"),
            ("identity", b"hello", None),
        ):
            response = get(server, "/s/a.txt", f"Accept-Encoding: {accepted}")
            assert (response.body, response.get("content-encoding")) == (body, coding)
            assert (response.get("vary"), response.get("content-type")) == ("accept-encoding", "text/plain; charset=utf-8")
        tags = {get(server, "/s/a.txt", f"Accept-Encoding: {coding}").get("etag") for coding in ("br", "gzip", "x")}
        assert len(tags) == 3
        assert get(server, "/s/a.txt.gz").get("content-encoding") is None
        # Older than what it was made of: somebody forgot it.
        (folder / "a.txt.br").unlink()
        os.utime(folder / "a.txt.gz", (LONG_AGO - 10, LONG_AGO - 10))
        stale = get(server, "/s/a.txt", "Accept-Encoding: gzip")
        assert (stale.body, stale.get("vary")) == (b"hello", None)


def test_the_longest_url_wins_and_a_root_path_stands_before_it(folder: Path) -> None:
    mounts = (("/", str(folder / "sub")), ("/s", str(folder)))
    with serve(folder, static=mounts, root_path="/app") as server:
        for path in ("/app/s/a.txt", "/s/a.txt"):
            assert get(server, path).body == b"hello"
        assert get(server, "/app/").body == b"sub"
        assert get(server, "/").body == b"sub"
        assert get(server, "/s/sub").get("location") == "/app/s/sub/"
        assert get(server, "//example.org/..").status == 404
        assert get(server, "/app").get("location") == "/app/"


def test_the_script_for_browsers_is_served_where_it_is_asked_for(folder: Path) -> None:
    with serve(folder, static=(("/s", str(folder)),), js_path="/s/js/bridge.js") as server:
        script = get(server, "/s/js/bridge.js")
        assert (script.status, script.get("content-type")) == (200, "text/javascript; charset=utf-8")
        assert b"WebSocketBridge" in script.body
        module = get(server, "/s/js/bridge.mjs")
        assert (module.status, module.get("content-type")) == (200, "text/javascript; charset=utf-8")
        assert get(server, "/s/js/shmchan.js").status == 404
    with serve(folder) as server:
        assert get(server, "/shmchan.js").body == b"the application: /shmchan.js"


def test_the_access_log_has_a_line_for_each(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shmchan.access")
    with serve(folder) as server:
        get(server, "/s/a.txt")
        get(server, "/s/big.bin", "Range: bytes=0-99999")
        get(server, "/s/none")
    lines = [record.message for record in caplog.records if record.name == "shmchan.access"]
    assert [line.split('" ')[1].split(" ")[:2] for line in lines] == [["200", "5"], ["206", "100000"], ["404", "14"]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", b"text/html; charset=utf-8"),
        ("a.CSS", b"text/css; charset=utf-8"),
        ("a.js", b"text/javascript; charset=utf-8"),
        ("a.mjs", b"text/javascript; charset=utf-8"),
        ("a.json", b"application/json"),
        ("a.wasm", b"application/wasm"),
        ("a.svg", b"image/svg+xml"),
        ("a.woff2", b"font/woff2"),
        ("a.webp", b"image/webp"),
        ("a.png", b"image/png"),
        ("a.tar.gz", b"application/gzip"),
        ("a.xz", b"application/x-xz"),
        ("a.Z", b"application/octet-stream"),
        ("a.unknown", b"application/octet-stream"),
        ("LICENSE", b"application/octet-stream"),
        ("data:,a.html", b"text/html; charset=utf-8"),
    ],
)
def test_a_type_is_told_by_the_name(name: str, kind: bytes) -> None:
    assert content_type(name) == kind
