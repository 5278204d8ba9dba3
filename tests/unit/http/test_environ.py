"""An http.request as the environ of PEP 3333."""

import io
from typing import Any

import pytest

from shmchan.http.environ import make_environ

from .harness import Exchange


def environ_of(**content: Any) -> dict[str, Any]:
    return make_environ(Exchange(**content).message.content, io.BytesIO())


def test_a_message_becomes_an_environ() -> None:
    environ = environ_of(
        method="POST",
        path="/a b/ü",
        query_string=b"q=%C3%BC&r=1",
        headers=[[b"host", b"example.org:80"], [b"content-type", b"text/plain"], [b"content-length", b"3"], [b"x-one", b"1"]],
    )
    environ.pop("wsgi.input")
    environ.pop("wsgi.errors")
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/ü".encode().decode("latin-1"),
        "QUERY_STRING": "q=%C3%BC&r=1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "shmchan",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "40000",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "example.org:80",
        "HTTP_X_ONE": "1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def test_the_port_is_a_string() -> None:
    assert type(environ_of(server=["::1", 8000])["SERVER_PORT"]) is str


@pytest.mark.parametrize(
    ("root", "path", "script_name", "path_info"),
    [
        ("", "/x", "", "/x"),
        ("/app", "/app/x", "/app", "/x"),
        ("/app", "/app/", "/app", "/"),
        ("/app", "/app", "/app", ""),
        ("/app", "/apple", "/app", "/apple"),
        ("/ü", "/ü/x", "/ü".encode().decode("latin-1"), "/x"),
        ("/app", "*", "/app", "*"),
    ],
)
def test_the_root_path_is_the_script_name(root: str, path: str, script_name: str, path_info: str) -> None:
    environ = environ_of(root_path=root, path=path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


def test_headers_that_come_twice_are_joined() -> None:
    environ = environ_of(
        headers=[[b"x-one", b"1"], [b"cookie", b"a=1"], [b"x-one", b"2"], [b"cookie", b"b=2"], [b"x-two", b"\xfc"]]
    )
    assert (environ["HTTP_X_ONE"], environ["HTTP_COOKIE"], environ["HTTP_X_TWO"]) == ("1,2", "a=1; b=2", "ü")


@pytest.mark.parametrize(
    ("scheme", "host", "expected"),
    [
        ("http", b"example.org", ("example.org", "80")),
        ("https", b"example.org", ("example.org", "443")),
        ("http", b"example.org:81", ("example.org", "81")),
        ("http", b"[::1]", ("[::1]", "80")),
        ("http", b"[::1]:81", ("[::1]", "81")),
        ("http", None, ("localhost", "80")),
    ],
)
def test_on_a_unix_socket_the_server_is_as_the_client_calls_it(scheme: str, host: bytes | None, expected: Any) -> None:
    headers = [] if host is None else [[b"host", host]]
    environ = environ_of(scheme=scheme, headers=headers, client=None, server=None)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected
    assert environ["REMOTE_ADDR"] == ""


def test_a_chunked_body_that_came_whole_has_a_length() -> None:
    headers = [[b"transfer-encoding", b"chunked"]]
    assert environ_of(body=b"abc", headers=headers)["CONTENT_LENGTH"] == "3"
    assert "HTTP_TRANSFER_ENCODING" not in environ_of(body=b"abc", headers=headers)
    long = environ_of(body=b"abc", headers=headers, body_channel="http.request.body?x")
    assert "CONTENT_LENGTH" not in long
    assert long["HTTP_TRANSFER_ENCODING"] == "chunked"
