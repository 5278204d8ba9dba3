"""Request: a message with everything that a framework's request has."""

import pytest
from werkzeug.exceptions import BadRequest

from shmchan.exceptions import RequestAborted
from shmchan.http import Request

from .harness import Exchange

FORM = [[b"content-type", b"application/x-www-form-urlencoded"]]
MULTIPART = [[b"content-type", b"multipart/form-data; boundary=xx"]]
BODY = (
    b'--xx\r\nContent-Disposition: form-data; name="title"\r\n\r\nA f\xc3\xbcll page\r\n'
    b'--xx\r\nContent-Disposition: form-data; name="page"; filename="p.txt"\r\nContent-Type: text/plain\r\n\r\n'
    b"line\r\n" + b"x" * 300_000 + b"\r\n--xx--\r\n"
)


def test_a_request_is_a_message_as_an_object() -> None:
    exchange = Exchange(
        path="/app/seite/ü",
        root_path="/app",
        query_string=b"a=1&a=2&b=%C3%BC",
        headers=[[b"host", b"example.org"], [b"cookie", b"one=1; two=z"], [b"x-one", b"1"]],
    )
    request = Request(exchange.message)
    assert (request.method, request.path, request.root_path) == ("GET", "/seite/ü", "/app")
    assert request.url == "http://example.org/app/seite/ü?a=1&a=2&b=ü"
    assert request.args.getlist("a") == ["1", "2"]
    assert request.args["b"] == "ü"
    assert request.cookies.to_dict() == {"one": "1", "two": "z"}
    assert request.headers["X-One"] == "1"
    assert (request.remote_addr, request.message) == ("127.0.0.1", exchange.message)


def test_the_content_alone_does() -> None:
    assert Request(Exchange(method="PUT", body=b"abc").message.content).data == b"abc"


def test_a_form_is_read() -> None:
    request = Request(Exchange(method="POST", body=b"name=Ada&tag=1&tag=2", headers=FORM).message)
    assert request.form.to_dict(flat=False) == {"name": ["Ada"], "tag": ["1", "2"]}


def test_json_is_read() -> None:
    headers = [[b"content-type", b"application/json"]]
    assert Request(Exchange(method="POST", body=b'{"a": [1]}', headers=headers).message).json == {"a": [1]}


@pytest.mark.parametrize("body", [b"{", b"NaN", b"\xff", b"[" * 200_000 + b"]" * 200_000], ids=["cut", "nan", "bytes", "deep"])
def test_what_is_no_json_is_a_bad_request(body: bytes) -> None:
    request = Request(Exchange(method="POST", body=body, headers=[[b"content-type", b"application/json"]]).message)
    with pytest.raises(BadRequest, match="Failed to decode JSON"):
        _ = request.json
    assert request.get_json(silent=True) is None


def test_files_are_read_from_a_body_that_comes_in_pieces() -> None:
    exchange = Exchange(method="POST", body=BODY[:50], body_channel="http.request.body?x", headers=MULTIPART)
    for start in range(50, len(BODY), 50_000):
        exchange.send_body(BODY[start : start + 50_000], more_content=start + 50_000 < len(BODY))
    with Request(exchange.message) as request:
        assert request.form["title"] == "A füll page"
        page = request.files["page"]
        assert (page.filename, page.mimetype) == ("p.txt", "text/plain")
        assert page.read() == b"line\r\n" + b"x" * 300_000


def test_a_client_that_leaves_in_its_form_is_an_aborted_request() -> None:
    exchange = Exchange(method="POST", body=BODY[:50], body_channel="http.request.body?x", headers=MULTIPART)
    exchange.send_body(closed=True, more_content=False)
    with pytest.raises(RequestAborted):
        _ = Request(exchange.message).form
