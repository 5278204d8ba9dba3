"""Response: how it becomes a message."""

from collections.abc import Callable
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest

from shmchan.http import Response, StreamingResponse


def test_a_response_becomes_a_message() -> None:
    response = Response("ü", 201, [("X-A", "b"), (b"x-c", b"d")])
    assert response.message() == {
        "status": 201,
        "headers": [[b"X-A", b"b"], [b"x-c", b"d"]],
        "content": "ü".encode(),
        "more_content": False,
    }


@pytest.mark.parametrize("make", [Response, StreamingResponse, Response.json, Response.redirect])
def test_headers_are_a_mapping_or_pairs(make: Callable[..., Response]) -> None:
    given = {"content-type": "text/html", b"te": b"x"}
    expected = [[b"content-type", b"text/html"], [b"te", b"x"]]
    for headers in (given, MappingProxyType(given), [*given.items()], given.items(), map(list, given.items())):
        content: Any = "/x" if make is not StreamingResponse else ["x"]
        assert make(content, headers=headers).headers[-2:] == expected


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("te: x", "a dict of names and values, or pairs of them, not 'te: x'"),
        (5, "a dict of names and values, or pairs of them, not 5"),
        (None, "not None"),
        (["te", "x"], "a header is a pair of a name and a value, not 'te'"),
        ([("a", "b", "c")], "not \\('a', 'b', 'c'\\)"),
        ([5], "not 5"),
        ({"te": ["x"]}, "str or bytes, not \\['x'\\]"),
        ({"content-length": 5}, "str or bytes, not 5"),
    ],
)
@pytest.mark.parametrize("make", [Response, Response.json, Response.redirect, StreamingResponse])
def test_other_headers_are_refused_in_words(make: Callable[..., Response], wrong: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make(["x"] if make is StreamingResponse else "x", headers=wrong)


@pytest.mark.parametrize("wrong", [{"content": 5}, {"status": "200"}, {"status": 99}, {"headers": [(1, "x")]}])
def test_wrong_types_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Response(**wrong)


def test_json_has_its_type() -> None:
    response = Response.json({"name": "ü", "n": [1]}, 201, [("x-a", "b")])
    assert (response.status, response.content) == (201, '{"name":"ü","n":[1]}'.encode())
    assert response.headers == [[b"content-type", b"application/json"], [b"x-a", b"b"]]


@pytest.mark.parametrize("data", [float("nan"), {1, 2}])
def test_what_json_cannot_say_is_refused(data: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Response.json(data)


def test_a_redirection_names_its_target_in_ascii() -> None:
    response = Response.redirect("/straße?q=ü", 303)
    assert (response.status, response.content) == (303, b"")
    assert response.headers == [[b"location", b"/stra%C3%9Fe?q=%C3%BC"]]
    with pytest.raises(ValueError, match="301, 302"):
        Response.redirect("/", 200)


def test_cookies_are_set_and_deleted() -> None:
    response = Response()
    response.set_cookie("one", "ä b", max_age=timedelta(hours=1), secure=True, httponly=True, samesite="Lax", domain="a.org")
    response.set_cookie("two", "2", path="/x")
    response.delete_cookie("three")
    names, values = zip(*response.headers, strict=True)
    assert set(names) == {b"set-cookie"}
    assert values[0].startswith(b'one="\\303\\244 b"; ')
    parts = set(values[0].split(b"; "))
    assert parts >= {b"Domain=a.org", b"Max-Age=3600", b"Secure", b"HttpOnly", b"SameSite=Lax", b"Path=/"}
    assert values[1] == b"two=2; Path=/x"
    assert values[2].startswith(b"three=; Expires=Thu, 01 Jan 1970")
    assert b"Max-Age=0" in values[2]
