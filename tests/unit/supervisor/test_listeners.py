"""Which addresses are taken, and what is said about those that cannot be."""

import os
import socket
from pathlib import Path

import pytest

from shmchan.supervisor.listeners import CannotListen, Listeners, parse_bind


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_host_and_port_come_apart(text: str, address: tuple[str, int]) -> None:
    assert parse_bind(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "8000", ":8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "::1:80", "[::1]", "h:-1", "h:²"],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(CannotListen, match="is no HOST:PORT"):
        parse_bind(text)


@pytest.mark.parametrize("port", ["65536", "99999", "1" * 5000])
def test_a_port_out_of_range_is_told(port: str) -> None:
    with pytest.raises(CannotListen, match="a port out of range"):
        parse_bind(f"127.0.0.1:{port}")


def test_port_zero_is_told_and_accepts() -> None:
    with Listeners(["127.0.0.1:0"]) as listeners:
        (url,) = listeners.urls
        port = int(url.rpartition(":")[2])
        assert url == f"http://127.0.0.1:{port}"
        assert port > 0
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass


def test_a_port_in_use_is_named_and_what_was_bound_before_is_given_back() -> None:
    with Listeners(["127.0.0.1:0"]) as first:
        taken = first.urls[0].removeprefix("http://")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(CannotListen, match=rf"cannot listen on {taken}: another process listens there"):
            Listeners([free, taken])
        Listeners([free]).remove()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotListen, match="this machine has no such address"):
        Listeners(["192.0.2.1:0"])


def test_a_unix_socket_is_there_and_goes_with_the_run(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with Listeners([], unix=path) as listeners:
        assert listeners.urls == [f"unix:{path}"]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    assert not os.path.exists(path)


def test_a_unix_socket_in_use_is_left_alone_and_a_stale_one_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with Listeners([], unix=path), pytest.raises(CannotListen, match="another process listens there"):
        Listeners([], unix=path)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    Listeners([], unix=path).remove()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(CannotListen, match="no socket has this name"):
        Listeners([], unix=str(path))
    assert path.read_text() == "mine"


def test_a_unix_socket_in_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="its folder does not exist"):
        Listeners([], unix=str(tmp_path / "no" / "sock"))
