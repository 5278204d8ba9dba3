"""A Flask application and a Django project that know nothing of shmchan, served by ``shmchan run`` over two workers."""

import hashlib
import http.client
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import WATCHDOG, Server, StartServer
from tests.shelf import PROJECTS, django, migrate


class Client:
    """Somebody with one connection and cookies."""

    def __init__(self, server: Server) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WATCHDOG)
        self.cookies: dict[str, str] = {}

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """The response, to be read before the next request."""
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, given, encode_chunked="Transfer-Encoding" in given)
        response = self.connection.getresponse()
        for cookie in response.headers.get_all("set-cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return json.load(self.request(method, path, body, **headers))


@pytest.fixture(scope="module")
def jar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Flask application, mounted by a proxy at /jar."""
    running = Server(
        tmp_path_factory.mktemp("jar"), "--workers", "2", "--app-dir", str(PROJECTS), "--root-path", "/jar", app="jar"
    )
    try:
        running.wait_until_started()
        yield running
        running.stop()
    finally:
        running.discard()


@pytest.fixture
def client(jar: Server) -> Iterator[Client]:
    new = Client(jar)
    yield new
    new.connection.close()


def test_a_page_and_its_static_file(client: Client) -> None:
    page = client.request("GET", "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "href='/jar/static/jar.css'" in page.read().decode()
    sheet = client.request("GET", "/jar/static/jar.css")
    assert (sheet.status, sheet.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert sheet.read() == (PROJECTS / "jar" / "static" / "jar.css").read_bytes()
    etag = sheet.headers["etag"]
    assert client.request("GET", "/static/jar.css", If_None_Match=etag).status == 304


def test_what_the_application_knows_of_its_request(client: Client, jar: Server) -> None:
    assert client.json("GET", "/echo/a%20b/%C3%BC?x=1&x=%C3%BC") == {
        "rest": "a b/ü",
        "args": {"x": ["1", "ü"]},
        "url": f"http://127.0.0.1:{jar.port}/jar/echo/a%20b/ü?x=1&x=ü",
        "SCRIPT_NAME": "/jar",
        "SERVER_PORT": str(jar.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
    }


def test_cookies_sessions_and_redirections(client: Client) -> None:
    assert client.json("GET", "/who") == {"name": None, "theme": None}
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    response = client.request("POST", "/enter", "name=Ada+%C3%9C", **form)
    response.read()
    assert (response.status, response.headers["location"]) == (303, "/jar/who")
    assert sorted(client.cookies) == ["session", "theme"]
    assert client.json("GET", "/who") == {"name": "Ada Ü", "theme": "dark & warm"}


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_a_file_is_uploaded(client: Client, size: int) -> None:
    data = bytes(index % 253 for index in range(size))
    body = b"".join(
        (
            b'--xx\r\nContent-Disposition: form-data; name="title"\r\n\r\n\xc3\x9c\r\n',
            b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a b.bin"\r\n\r\n',
            data,
            b"\r\n--xx--\r\n",
        )
    )
    answer = client.json("POST", "/upload", body, Content_Type="multipart/form-data; boundary=xx")
    assert answer == {"title": "Ü", "name": "a b.bin", "size": size, "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_a_body_in_chunks_is_read_to_its_end(client: Client, size: int) -> None:
    data = bytes(index % 253 for index in range(size))
    pieces = (data[start : start + 70_000] for start in range(0, size, 70_000))
    answer = client.json("PUT", "/raw", pieces, Transfer_Encoding="chunked")
    assert answer == {"size": size, "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_a_file_is_downloaded(client: Client, size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    response = client.request("GET", f"/file/{size}")
    assert response.read() == data
    assert response.headers["content-length"] == str(size)
    head = client.request("HEAD", f"/file/{size}")
    assert (head.headers["content-length"], head.read()) == (str(size), b"")
    if size:
        part = client.request("GET", f"/file/{size}", Range="bytes=3-7")
        assert (part.status, part.read()) == (206, data[3:8])


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_rows_are_streamed(client: Client, count: int) -> None:
    response = client.request("GET", f"/rows/{count}")
    assert response.read().decode() == "".join(f"row {number} of /rows/{count}\n" for number in range(count))
    assert response.headers["transfer-encoding" if count else "content-length"] == ("chunked" if count else "0")


def test_errors_are_those_of_the_application(client: Client, jar: Server) -> None:
    failed = client.request("GET", "/fail")
    assert (failed.status, b"Internal Server Error" in failed.read()) == (500, True)
    jar.wait_for_print("ZeroDivisionError: the failure that was asked for")
    missing = client.request("GET", "/nowhere")
    assert (missing.status, json.load(missing)) == (404, {"missing": "/nowhere"})
    wrong = client.request("DELETE", "/who")
    assert (wrong.status, sorted(wrong.headers["allow"].split(", "))) == (405, ["GET", "HEAD", "OPTIONS"])
    wrong.read()


@pytest.mark.parametrize("path", ["/fail-late", "/killed"])
def test_a_response_that_fails_half_way_is_seen_to_be_cut_off(client: Client, jar: Server, path: str) -> None:
    """Also when its worker is killed; a client must not take the half for the whole."""
    response = client.request("GET", path)
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead) as cut:
        response.read()
    assert cut.value.partial == b"some of it"
    jar.wait_for_print(f"GET {path}: cut off")


# --- Django


@pytest.fixture(scope="module")
def shelf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    migrate(folder)
    return folder


def ran(said: str) -> int:
    found = re.search(r"Ran (\d+) tests", said)
    assert found is not None, said
    return int(found[1])


def test_djangos_own_client_finds_the_same_behind_the_server(shelf_folder: Path, server: StartServer) -> None:
    directly = ran(django(shelf_folder, "test", "shelf"))
    running = server("--workers", "2", "--app-dir", str(PROJECTS), app="shelf.wsgi", env={"SHELF_FOLDER": str(shelf_folder)})
    served = ran(django(shelf_folder, "test", "shelf", SHELF_URL=running.url))
    assert served == directly > 5
    assert '"POST /upload" 302 0 ' in running.printed()
    assert os.listdir(shelf_folder / "media")
