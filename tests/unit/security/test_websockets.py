"""Origin checks that an application puts on its connect consumers."""

from collections.abc import Iterator
from typing import Any

import pytest

from shmchan import Message
from shmchan.exceptions import DenyConnection
from shmchan.security.websockets import BaseOriginValidator, allowed_hosts_only, set_allowed_hosts


@pytest.fixture(autouse=True)
def _no_hosts() -> Iterator[None]:
    yield
    set_allowed_hosts(())


def handshake(*origins: bytes, channel: str = "websocket.connect") -> Message:
    headers = [[b"host", b"example.org:8000"], *([b"origin", origin] for origin in origins)]
    return Message({"reply_channel": "r!x", "path": "/", "headers": headers}, channel)


@allowed_hosts_only
def consumer(message: Message, room: str = "none") -> str:
    """Doc."""
    return room


def allowed(*origins: bytes) -> bool:
    try:
        return bool(consumer(handshake(*origins), room="blue") == "blue")
    except DenyConnection:
        return False


@pytest.mark.parametrize(
    ("hosts", "origin", "expected"),
    [
        ((), b"http://example.org", True),
        ((), b"http://evil.org", False),
        (("app.org",), b"https://app.org:444", True),
        (("app.org",), b"http://example.org", False),
        ((".app.org",), b"https://www.APP.org", True),
        (("*",), b"https://evil.org", True),
        ((), b"null", False),
    ],
)
def test_only_pages_of_allowed_hosts_connect(hosts: tuple[str, ...], origin: bytes, expected: bool) -> None:
    set_allowed_hosts(hosts)
    assert allowed(origin) is expected


def test_a_missing_doubled_or_non_ascii_origin_is_denied_whoever_is_allowed() -> None:
    set_allowed_hosts(["*"])
    assert not allowed()
    assert not allowed(b"http://example.org", b"http://example.org")
    assert not allowed("http://exämple.org".encode())


def test_other_messages_of_the_connection_pass() -> None:
    assert consumer(Message({"reply_channel": "r!x", "text": "x"}, "websocket.receive"), room="red") == "red"


def test_a_validator_of_ones_own_is_asked() -> None:
    asked: list[Any] = []

    class Validator(BaseOriginValidator):
        def validate_origin(self, message: Message, origin: str) -> bool:
            asked.append((message["path"], origin))
            return origin.endswith(".org")

    decorated = Validator(lambda message: "ran")
    assert decorated(handshake(b"http://a.org")) == "ran"
    with pytest.raises(DenyConnection):
        decorated(handshake(b"http://a.com"))
    with pytest.raises(DenyConnection):
        decorated(handshake())
    assert asked == [("/", "http://a.org"), ("/", "http://a.com")]


def test_the_decorated_consumer_keeps_its_name() -> None:
    assert (consumer.__name__, consumer.__doc__) == ("consumer", "Doc.")  # type: ignore[attr-defined]
