"""The opening handshake: RFC 6455, section 4.2."""

import pytest

from shmchan.protocol.deflate import negotiate
from shmchan.protocol.handshake import (
    BadHandshake,
    Handshake,
    accept_key,
    accept_response,
    check_request,
    choose_subprotocol,
    is_upgrade,
)

Headers = list[tuple[bytes, bytes]]

GOOD: Headers = [
    (b"host", b"example.com"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-version", b"13"),
]


def changed(name: bytes, *values: bytes) -> Headers:
    return [header for header in GOOD if header[0] != name] + [(name, value) for value in values]


def test_the_request_of_the_rfc_is_accepted() -> None:
    handshake = check_request(GOOD)
    assert handshake == Handshake(key=b"dGhlIHNhbXBsZSBub25jZQ==")
    assert accept_key(handshake.key) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert accept_response(handshake) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@pytest.mark.parametrize(
    "headers",
    [
        changed(b"upgrade", b"WebSocket"),
        changed(b"upgrade", b"h2c, websocket"),
        changed(b"connection", b"keep-alive, Upgrade"),
        changed(b"connection", b"keep-alive", b"UPGRADE"),
        changed(b"sec-websocket-key", b"  dGhlIHNhbXBsZSBub25jZQ=="),
    ],
)
def test_what_clients_write_differently_is_accepted(headers: Headers) -> None:
    assert is_upgrade(headers)
    assert check_request(headers).version == 13


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        (changed(b"connection", b"close"), 400, "Connection"),
        (changed(b"connection"), 400, "Connection"),
        (changed(b"upgrade", b"h2c"), 426, "Upgrade"),
        (changed(b"sec-websocket-key"), 400, "one Sec-WebSocket-Key"),
        (changed(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ=="), 400, "one Sec-WebSocket-Key"),
        (changed(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25j"), 400, "16 bytes"),
        (changed(b"sec-websocket-key", b"no base64 at all!!!!!!=="), 400, "base64"),
        (changed(b"sec-websocket-key", b"\xff\xfe"), 400, "base64"),
        (changed(b"sec-websocket-version"), 400, "Sec-WebSocket-Version"),
        (changed(b"sec-websocket-version", b"13", b"13"), 400, "Sec-WebSocket-Version"),
        (changed(b"sec-websocket-version", b"8"), 426, "version 13"),
        (changed(b"sec-websocket-protocol", b"a b"), 400, "not a token"),
        (changed(b"sec-websocket-protocol", b"chat, chat"), 400, "twice"),
        (changed(b"sec-websocket-extensions", b"a; b=\xff"), 400, "Extensions"),
        (changed(b"sec-websocket-extensions", b'a; b="c'), 400, "Extensions"),
        (changed(b"sec-websocket-extensions", b"a b"), 400, "Extensions"),
        (changed(b"sec-websocket-extensions", b";"), 400, "Extensions"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(headers: Headers, status: int, text: str) -> None:
    with pytest.raises(BadHandshake, match=text) as caught:
        check_request(headers)
    assert caught.value.status == status
    assert caught.value.text.endswith("\n")


def test_the_version_that_is_spoken_is_told() -> None:
    with pytest.raises(BadHandshake) as caught:
        check_request(changed(b"sec-websocket-version", b"25"))
    assert (b"sec-websocket-version", b"13") in caught.value.headers
    assert (b"upgrade", b"websocket") in caught.value.headers


def test_other_methods_and_versions_of_http_are_refused() -> None:
    with pytest.raises(BadHandshake) as caught:
        check_request(GOOD, method="POST")
    assert (caught.value.status, caught.value.headers) == (405, [(b"allow", b"GET")])
    with pytest.raises(BadHandshake, match=r"HTTP/1\.1"):
        check_request(GOOD, http_version="1.0")


def test_an_ordinary_request_is_no_upgrade() -> None:
    assert not is_upgrade([(b"host", b"example.com"), (b"connection", b"upgrade")])
    assert not is_upgrade([(b"upgrade", b"h2c")])


def test_subprotocols_are_read_in_order_over_several_lines() -> None:
    handshake = check_request(changed(b"sec-websocket-protocol", b"chat.v2, chat.v1", b"", b"x"))
    assert handshake.subprotocols == ["chat.v2", "chat.v1", "x"]
    assert choose_subprotocol(handshake, ["x", "chat.v1"]) == "chat.v1"
    assert choose_subprotocol(handshake, ["other"]) is None
    assert b"Sec-WebSocket-Protocol: chat.v1\r\n" in accept_response(handshake, "chat.v1")
    with pytest.raises(ValueError, match="did not offer subprotocol 'other'"):
        accept_response(handshake, "other")


def test_extensions_are_read_with_their_parameters() -> None:
    value = b'permessage-deflate; client_max_window_bits; server_max_window_bits="10" ,, foo ;a=b;c="d\\"e, f"'
    handshake = check_request(changed(b"sec-websocket-extensions", value, b"bar"))
    assert handshake.extensions == [
        ("permessage-deflate", [("client_max_window_bits", None), ("server_max_window_bits", "10")]),
        ("foo", [("a", "b"), ("c", 'd"e, f')]),
        ("bar", []),
    ]
    deflate = negotiate(handshake.extensions)
    response = accept_response(handshake, deflate=deflate)
    assert b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; client_max_window_bits=12\r\n" in response


def test_the_applications_headers_are_sent() -> None:
    response = accept_response(check_request(GOOD), headers=[(b"Set-Cookie", b"a=b"), (b"set-cookie", b"c=\xfc")])
    assert response.endswith(b"\r\nSet-Cookie: a=b\r\nset-cookie: c=\xfc\r\n\r\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\nSet-Cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\x00"),
        (b"x y", b""),
        (b"", b""),
        (b"x\n", b""),
        (b"Connection", b"close"),
        (b"Sec-WebSocket-Protocol", b"chat"),
        (b"content-length", b"0"),
    ],
)
def test_headers_that_would_break_the_response_are_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        accept_response(check_request(GOOD), headers=[(name, value)])
