"""The code in docs/http.md runs as it stands there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmchan.testing import Client, apply_routes

PAGE = Path(__file__).parents[3] / "docs" / "http.md"
REQUEST = {"method": "GET", "path": "/", "query_string": b"", "headers": [[b"host", b"a"]], "server": ["127.0.0.1", 80]}
FORM = [[b"host", b"a"], [b"content-type", b"application/x-www-form-urlencoded"]]


@pytest.fixture
def names() -> dict[str, Any]:
    """What the page's code defines."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    found: dict[str, Any] = {"__name__": "http_page"}
    exec(compile(code, str(PAGE), "exec"), found)
    return found


@pytest.fixture
def client(names: dict[str, Any]) -> Iterator[Client]:
    """Of the page's routing, the WSGI application last, since it would take every request."""
    everything = [route for route in names["routing"] if getattr(route.consumer, "app", None) and not route.filters]
    with apply_routes([route for route in names["routing"] if route not in everything] + everything):
        yield Client()


def ask(client: Client, **content: Any) -> dict[str, Any]:
    client.send_and_consume("http.request", {**REQUEST, **content})
    answer: dict[str, Any] = client.receive()
    return answer


def test_the_application_is_served_and_visits_are_told(client: Client) -> None:
    visitor = Client()
    visitor.send_and_consume("websocket.connect", {"path": "/visits"})
    assert visitor.receive() == {"accept": True}
    assert ask(client, path="/shop/shoes")["content"] == b"hello"
    assert visitor.receive() == {"text": "/shop/shoes"}
    assert ask(client, path="/anything")["content"] == b"hello"


def test_an_application_is_mounted_under_a_prefix(client: Client, names: dict[str, Any]) -> None:
    visitor = Client()
    visitor.send_and_consume("websocket.connect", {"path": "/visits"})
    assert visitor.receive() == {"accept": True}
    assert ask(client, path="/blog/first")["content"] == b"hello"
    assert visitor.receive() == {"text": "/first"}, "it was cut off"
    assert ask(client, path="/blogger")["content"] == b"hello"
    assert visitor.receive() == {"text": "/blogger"}


def test_the_consumers_answer(client: Client) -> None:
    assert ask(client, path="/enter")["status"] == 405
    entered = ask(client, path="/enter", method="POST", headers=FORM, body=b"name=Ada")
    assert (entered["status"], dict(entered["headers"])[b"location"]) == (303, b"/")
    assert dict(entered["headers"])[b"set-cookie"].startswith(b"name=Ada; ")
    assert ask(client, path="/count", query_string=b"upto=3")["content"] == b'{"upto":3}'


def test_who_waits_is_answered(client: Client) -> None:
    waiting = Client()
    waiting.send_and_consume("http.request", {**REQUEST, "path": "/wait"})
    assert waiting.receive() is None
    assert ask(client, path="/publish", method="POST", headers=FORM, body=b"text=hi")["status"] == 202
    client.consume("news")
    assert waiting.receive()["content"] == b'{"text":"hi"}'
    waiting.send_and_consume("http.disconnect", {"path": "/wait"})
