"""WebSockets through a real front, over loopback sockets: FEATURES section 2."""

import functools
import logging
import threading

import pytest

from .harness import Message, Server, frame, handshake

pytestmark = pytest.mark.usefixtures("layer_kind")


def test_connect_receive_and_disconnect_have_the_keys_of_the_draft() -> None:
    with Server() as server, server.client() as client:
        client.upgrade(b"/ch%C3%A4t?room=1", b"X-One: 1")
        headers = dict(client.opened())
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        client.send_text("hällo")
        assert client.text() == "hällo"
        client.send_frame(2, b"\x00\xff")
        assert client.frame() == (2, b"\x00\xff")
        client.close(3333)
        connect = server.take("websocket.connect")[0]
        reply_channel = connect.pop("reply_channel")
        assert reply_channel.startswith("websocket.send.")
        assert connect.pop("client")[0] == "127.0.0.1"
        assert [b"x-one", b"1"] in connect.pop("headers")
        assert connect == {
            "scheme": "ws",
            "path": "/chät",
            "query_string": b"room=1",
            "root_path": "",
            "server": list(server.address),
            "order": 0,
        }
        common = {"reply_channel": reply_channel, "path": "/chät"}
        assert server.messages("websocket.receive") == [
            {**common, "order": 1, "text": "hällo"},
            {**common, "order": 2, "bytes": b"\x00\xff"},
        ]
        assert server.take("websocket.disconnect") == [{**common, "order": 3, "code": 3333}]


def answering(*answers: Message):  # type: ignore[no-untyped-def]
    def consumer(server: Server, message: Message) -> None:
        for answer in answers:
            server.reply(message, answer)

    return consumer


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([{"accept": True}], []),
        ([{"text": "a"}], [(1, b"a")]),
        ([{"bytes": b"b"}], [(2, b"b")]),
        ([{"accept": True, "text": ""}], [(1, b"")]),
        ([{"accept": True}, {"text": ""}, {"bytes": b""}], [(1, b""), (2, b"")]),
        ([{"text": "first", "bytes": b"second"}], [(1, b"first"), (2, b"second")]),
        ([{"text": "a", "close": True}], [(1, b"a"), (8, b"\x03\xe8")]),
        ([{"bytes": b"a", "close": 4001, "reason": "why"}], [(2, b"a"), (8, b"\x0f\xa1why")]),
        ([{"accept": True, "close": 3000}], [(8, b"\x0b\xb8")]),
        ([{"accept": True}, {"text": "x"}, {"close": True}, {"text": "late"}], [(1, b"x"), (8, b"\x03\xe8")]),
        ([{"accept": True}, {"accept": False}, {"text": "still open"}], [(1, b"still open")]),
        ([{"accept": True}, {"close": False, "text": "x"}, {"close": None, "text": "y"}], [(1, b"x"), (1, b"y")]),
        ([{"text": ""}, {"accept": True}], []),
        ([{"accept": True, "close": 42}], [(8, b"\x03\xf3")]),
    ],
)
def test_answers_that_accept(answers: list[Message], expected: list[tuple[int, bytes]]) -> None:
    with Server({"websocket.connect": answering(*answers)}) as server, server.client() as client:
        client.upgrade()
        client.opened()
        assert [client.frame() for _ in expected] == expected
        if not expected or expected[-1][0] != 8:
            client.send_text("alive")
            assert client.text() == "alive"
        client.close()
        assert len(server.take("websocket.disconnect")) == 1


@pytest.mark.parametrize(
    ("answer", "status", "body", "code"),
    [
        ({"accept": False}, 403, b"403\n", 1006),
        ({"accept": False, "text": "no"}, 403, b"403\n", 1006),
        ({"close": True}, 403, b"403\n", 1000),
        ({"close": 4404}, 403, b"403\n", 4404),
        ({"accept": False, "status": 500}, 500, b"500\n", 1006),
        ({"accept": False, "status": 401, "headers": [[b"www-authenticate", b"Basic"]], "content": b"who?"}, 401, b"who?", 1006),
        ({"close": True, "status": 404, "content": b"where?"}, 404, b"where?", 1000),
        ({"accept": False, "status": 403, "headers": [[b"x", b"a\r\nInjected: 1"]]}, 500, b"500 Internal Server Error\n", 1006),
        ({"accept": True, "headers": [[b"x", b"a\r\nInjected: 1"]]}, 500, b"500\n", 1006),
        ({"accept": True, "subprotocol": "not offered"}, 500, b"500\n", 1006),
    ],
)
def test_answers_that_reject(answer: Message, status: int, body: bytes, code: int) -> None:
    with Server({"websocket.connect": answering(answer)}) as server, server.client() as client:
        client.upgrade()
        response = client.response()
        assert (response.status, response.body) == (status, body)
        assert response.get("injected") is None
        assert response.get("www-authenticate") == ("Basic" if status == 401 else None)
        assert client.rest() == b""
        assert [message["code"] for message in server.take("websocket.disconnect")] == [code]
        assert server.messages("websocket.receive") == []


def test_accepting_can_choose_the_subprotocol_and_add_headers() -> None:
    answer = {"accept": True, "subprotocol": "b", "headers": [[b"set-cookie", b"a=1"], [b"set-cookie", b"b=2"]]}
    with Server({"websocket.connect": answering(answer)}) as server, server.client() as client:
        client.upgrade(b"/", b"Sec-WebSocket-Protocol: a, b")
        headers = client.opened()
        assert ("sec-websocket-protocol", "b") in headers
        assert [value for name, value in headers if name == "set-cookie"] == ["a=1", "b=2"]
        client.close()


def test_the_configured_subprotocol_is_agreed_on() -> None:
    with Server(ws_protocols=("b", "a")) as server, server.client() as client:
        client.upgrade(b"/", b"Sec-WebSocket-Protocol: x, a")
        assert ("sec-websocket-protocol", "a") in client.opened()
        client.close()


def test_problems_in_answers_are_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Message] = [
        {"accept": True, "colour": "red"},
        {"text": "a", "bytes": b"b"},
        {"text": b"no str", "bytes": "no bytes"},
        {"close": 5, "text": "end"},
    ]
    with Server({"websocket.connect": answering(*answers)}) as server, server.client() as client:
        client.upgrade()
        client.opened()
        assert [client.frame() for _ in range(4)] == [(1, b"a"), (2, b"b"), (1, b"end"), (8, b"\x03\xf3")]
        client.close()
        assert server.counted("ignored.key") == 1
        assert server.counted("ignored.both") == 1
        assert server.counted("ignored.value") == 3
    assert "'colour'" in caplog.text


def test_nothing_of_the_client_is_passed_on_before_it_is_accepted() -> None:
    with Server({"websocket.connect": answering()}) as server, server.client() as client:
        client.send(handshake() + frame(1, b"early") + frame(1, b"bird"))
        connect = server.take("websocket.connect")[0]
        client.send_text("later")
        assert server.messages("websocket.receive") == []
        server.layer.send(connect["reply_channel"], {"accept": True})
        client.opened()
        assert [client.text() for _ in range(3)] == ["early", "bird", "later"]
        client.close()


def test_messages_of_a_connection_keep_their_order() -> None:
    with Server() as server, server.client() as client:
        client.upgrade()
        client.opened()
        client.send(b"".join(frame(1, b"%d" % number) for number in range(50)))
        assert [client.text() for _ in range(50)] == [str(number) for number in range(50)]
        client.close()
        assert [message["order"] for message in server.messages("websocket.receive")] == list(range(1, 51))


def test_a_group_accepts_only_when_the_connect_consumer_is_over() -> None:
    entered, leave = threading.Event(), threading.Event()

    def connect(server: Server, message: Message) -> None:
        server.layer.group_add("room", message["reply_channel"])
        entered.set()
        assert leave.wait(20)

    with Server({"websocket.connect": connect}) as server, server.client() as client:
        client.upgrade()
        assert entered.wait(20)
        server.layer.send_group("room", {"text": "for all"})
        server.wait_for(lambda: server.front.bridge._holding)
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        client.socket.settimeout(20)
        leave.set()
        client.opened()
        assert client.text() == "for all"
        client.close()
        assert len(server.take("websocket.disconnect")) == 1


def test_a_consumers_own_group_message_accepts() -> None:
    def connect(server: Server, message: Message) -> None:
        server.layer.group_add("room", message["reply_channel"])
        server.reply_to_group("room", {"text": "joined"})

    with Server({"websocket.connect": connect}, layer={"capacity": 1}) as server, server.client() as client:
        client.upgrade()
        client.opened()
        assert client.text() == "joined"
        reply_channel = server.take("websocket.connect")[0]["reply_channel"]
        for number in range(5):  # the credit of what was held comes back, or there would never be room
            server.wait_for(functools.partial(sent, server, reply_channel, {"text": str(number)}))
            assert client.text() == str(number)
        client.close()


def sent(server: Server, channel: str, message: Message) -> bool:
    """Whether there was room for it."""
    try:
        server.layer.send(channel, message)
    except server.layer.ChannelFull:
        return False
    return True


def test_a_group_message_does_not_accept_who_is_then_rejected() -> None:
    entered, leave = threading.Event(), threading.Event()

    def connect(server: Server, message: Message) -> None:
        server.layer.group_add("room", message["reply_channel"])
        entered.set()
        assert leave.wait(20)
        server.reply(message, {"accept": False})

    with Server({"websocket.connect": connect}) as server, server.client() as client:
        client.upgrade()
        assert entered.wait(20)
        server.layer.send_group("room", {"text": "secret"})
        server.wait_for(lambda: server.front.bridge._holding)
        leave.set()
        assert client.response().status == 403
        assert client.rest() == b""
        assert server.counted("dropped.rejected") == 1


def test_what_a_group_sent_before_the_answer_comes_first() -> None:
    entered, leave = threading.Event(), threading.Event()

    def connect(server: Server, message: Message) -> None:
        server.layer.group_add("room", message["reply_channel"])
        entered.set()
        assert leave.wait(20)
        server.reply(message, {"text": "second"})

    with Server({"websocket.connect": connect}) as server, server.client() as client:
        client.upgrade()
        assert entered.wait(20)
        server.layer.send_group("room", {"text": "first"})
        server.wait_for(lambda: server.front.bridge._holding)
        leave.set()
        client.opened()
        assert [client.text(), client.text()] == ["first", "second"]
        client.close()


def test_a_broadcast_reaches_every_member_and_returns_its_credit() -> None:
    def connect(server: Server, message: Message) -> None:
        server.layer.group_add("room", message["reply_channel"])
        server.reply(message, {"accept": True})

    with Server({"websocket.connect": connect}, layer={"capacity": 4}) as server, server.client() as one, server.client() as two:
        for client in (one, two):
            client.upgrade()
            client.opened()
        for number in range(40):  # ten times what a member's queue holds
            server.layer.send_group("room", {"text": str(number), "bytes": b"b"})
            for client in (one, two):
                assert (client.text(), client.frame()) == (str(number), (2, b"b"))
        server.layer.send_group("room", {"close": 4000, "text": "bye"})
        for client in (one, two):
            assert (client.text(), client.close_code()) == ("bye", 4000)
            client.close(4000)
        assert sorted(message["code"] for message in server.take("websocket.disconnect", 2)) == [4000, 4000]


def test_a_client_that_reads_nothing_fills_its_own_queue_only() -> None:
    def connect(server: Server, message: Message) -> None:
        server.layer.group_add("room", message["reply_channel"])
        server.reply(message, {"accept": True})

    with (
        Server({"websocket.connect": connect}, layer={"capacity": 8}) as server,
        server.client() as slow,
        server.client() as fast,
    ):
        for client in (slow, fast):
            client.upgrade()
            client.opened()
        text = "x" * 500_000
        for _ in range(60):
            server.layer.send_group("room", {"text": text})
            assert fast.text() == text
        buffered = [connection._transport.get_write_buffer_size() for connection in server.front.bridge.connections]
        assert max(buffered) < 20 * len(text)
        fast.close()
        seen = 0
        while slow.fill():
            seen += len(slow.buffer)
            slow.buffer = b""
            if seen > 8 * len(text):
                break


def test_a_full_websocket_connect_is_a_503_without_disconnect() -> None:
    with Server(layer={"capacity": 1}) as server, server.client() as one, server.client() as two:
        server.pause()
        one.upgrade()
        server.wait_for(lambda: server.counted("websockets") == 1)
        two.upgrade()
        assert two.response().status == 503
        assert server.counted("refused.full") == 1
        server.consuming.set()
        one.opened()
        one.close()
        server.take("websocket.disconnect")
    assert len(server.messages("websocket.disconnect")) == 1


def test_a_full_websocket_receive_stops_the_reading_and_loses_nothing() -> None:
    with Server(layer={"capacity": 3}) as server, server.client() as client:
        client.upgrade()
        client.opened()
        server.pause()
        client.send(b"".join(frame(1, b"%d" % number) for number in range(20)))
        server.wait_for(lambda: server.front.bridge.busy)
        (connection,) = server.front.bridge.connections
        server.wait_for(lambda: not connection._reading)
        server.consuming.set()
        assert [client.text() for _ in range(20)] == [str(number) for number in range(20)]
        server.wait_for(lambda: connection._reading)
        client.close()
        assert server.take("websocket.disconnect")[0]["code"] == 1000


def test_a_websocket_receive_that_stays_full_closes_with_1013() -> None:
    with Server(layer={"capacity": 2}, receive_timeout=0.05) as server, server.client() as client:
        client.upgrade()
        client.opened()
        server.pause()
        client.send(b"".join(frame(1, b"%d" % number) for number in range(9)))
        assert client.close_code() == 1013
        client.close(1013)
        assert server.counted("timeout.receive") == 1
        assert server.counted("dropped.receive") >= 1
        server.consuming.set()
        assert server.take("websocket.disconnect")[0]["code"] == 1013


def test_the_last_messages_of_a_client_come_before_its_disconnect() -> None:
    with Server(layer={"capacity": 2}) as server:
        with server.client() as client:
            client.upgrade()
            client.opened()
            server.pause()
            client.send(b"".join(frame(1, b"%d" % number) for number in range(9)) + frame(8, b"\x03\xe8"))
            client.rest()
        server.wait_for(lambda: not server.front.bridge.connections)
        assert server.front.bridge.busy
        server.consuming.set()
        disconnect = server.take("websocket.disconnect")[0]
        assert (disconnect["code"], disconnect["order"]) == (1000, 10)
        assert [channel for channel, _ in server.seen][-1] == "websocket.disconnect"
        assert [message["text"] for message in server.messages("websocket.receive")] == [str(number) for number in range(9)]


def test_one_disconnect_follows_a_client_that_left_during_the_handshake() -> None:
    with Server({"websocket.connect": answering()}) as server:
        with server.client() as client:
            client.upgrade()
            connect = server.take("websocket.connect")[0]
        disconnect = server.take("websocket.disconnect")[0]
        assert (disconnect["code"], disconnect["order"]) == (1006, 1)
        server.layer.send(connect["reply_channel"], {"accept": True})
        server.wait_for(lambda: server.counted("dropped.gone") == 1)
    assert len(server.messages("websocket.disconnect")) == 1


def test_one_disconnect_follows_a_client_that_was_lost() -> None:
    with Server() as server:
        with server.client() as client:
            client.upgrade()
            client.opened()
        assert server.take("websocket.disconnect")[0]["code"] == 1006
    assert len(server.messages("websocket.disconnect")) == 1


def test_the_code_of_a_disconnect_is_the_peers_else_ours() -> None:
    with Server() as server, server.client() as client:
        client.upgrade()
        client.opened()
        reply_channel = server.take("websocket.connect")[0]["reply_channel"]
        server.layer.send(reply_channel, {"close": 4321})
        assert client.close_code() == 4321
        client.socket.close()
        assert server.take("websocket.disconnect")[0]["code"] == 4321


def test_no_answer_to_the_handshake_is_a_504_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with Server({"websocket.connect": answering()}, handshake_timeout=0.05) as server, server.client() as client:
        client.upgrade()
        assert client.response().status == 504
        assert server.take("websocket.disconnect")[0]["code"] == 1006
        assert server.counted("timeout.handshake") == 1
    assert "504" in caplog.text


def test_a_websocket_ends_with_1001_at_its_age_limit() -> None:
    with Server(websocket_timeout=0.2) as server, server.client() as client:
        client.upgrade()
        client.opened()
        assert client.close_code() == 1001
        client.close(1001)
        assert server.counted("timeout.websocket") == 1


def test_the_age_limit_is_the_layers_group_expiry_by_default() -> None:
    with Server(layer={"group_expiry": 0.2}) as server, server.client() as client:
        client.upgrade()
        client.opened()
        assert client.close_code() == 1001
        client.close(1001)


def test_a_silent_client_is_pinged_and_then_given_up() -> None:
    with Server(ping_interval=0.05) as server, server.client() as client:
        client.upgrade()
        client.opened()
        for _ in range(3):
            assert client.frame() == (9, b"")
            client.send_frame(10, b"")
        client.close()
    with Server(ping_interval=0.05, ping_timeout=0.05) as server, server.client() as client:
        client.upgrade()
        client.opened()
        client.rest()
        assert server.take("websocket.disconnect")[0]["code"] in (1006, 1011)


def test_a_message_that_is_too_long_closes_with_1009() -> None:
    with Server(ws_max_size=1000) as server, server.client() as client:
        client.upgrade()
        client.opened()
        client.send_text("x" * 1001)
        assert client.close_code() == 1009
        client.close(1009)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (handshake().replace(b"Version: 13", b"Version: 12"), 426),
        (handshake().replace(b"GET", b"POST"), 405),
        (handshake().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
        (handshake(b"/", b"Content-Length: 5") + b"hello", 400),
    ],
)
def test_a_bad_handshake_is_refused_by_the_front_alone(request_: bytes, status: int) -> None:
    with Server() as server:
        assert server.request(request_).status == status
        assert server.messages("websocket.connect") == []


@pytest.mark.parametrize(
    ("origin", "hosts", "allowed"),
    [
        (b"http://example.org", (), True),
        (b"https://EXAMPLE.org:444", (), True),
        (b"http://evil.example", (), False),
        (b"http://example.org.evil.example", (), False),
        (b"null", (), False),
        (b"http://friend.example", ("friend.example",), True),
        (b"http://sub.friend.example", (".friend.example",), True),
        (b"http://sub.friend.example", ("friend.example",), False),
        (b"http://unfriend.example", (".friend.example",), False),
        (b"http://any.example", ("*",), True),
        (b"http://example.org", ("friend.example",), False),
        (b"http://[::1]:8000", ("[::1]",), True),
        (b"http://[broken", (), False),
        (b"http://caf\xc3\xa9.example", (), False),
    ],
)
def test_only_pages_of_allowed_hosts_may_connect(origin: bytes, hosts: tuple[str, ...], allowed: bool) -> None:
    with Server(allowed_hosts=hosts) as server, server.client() as client:
        client.upgrade(b"/", b"Origin: " + origin)
        if allowed:
            client.opened()
            client.close()
        else:
            assert client.response().status == 403
            assert server.counted("refused.origin") == 1
            assert server.messages("websocket.connect") == []


@pytest.mark.parametrize(("hosts", "may"), [(("a.org", ".b.org"), "a.org, .b.org"), ((), "its own Host, 'example.org")])
def test_a_refused_origin_is_logged_with_what_is_allowed(
    hosts: tuple[str, ...], may: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(allowed_hosts=hosts) as server, server.client() as client:
        client.upgrade(b"/", b"Origin: http://evil.example:8000")
        assert client.response().status == 403
    assert f"its Origin is 'http://evil.example:8000'; allowed are {may}".replace("are its", "is its") in caplog.text


def test_compression_is_agreed_on_where_the_client_offers_it() -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate"
    with Server() as server, server.client() as client:
        client.upgrade(b"/", offer)
        assert dict(client.opened())["sec-websocket-extensions"].startswith("permessage-deflate")
        client.send_text("not compressed, which is allowed too")
        client.close()
        server.take("websocket.disconnect")
    with Server(ws_compression=False) as server, server.client() as client:
        client.upgrade(b"/", offer)
        assert "sec-websocket-extensions" not in dict(client.opened())
        client.close()


def test_stopping_closes_websockets_with_1012_and_rejects_handshakes() -> None:
    def connect(server: Server, message: Message) -> None:
        if message["path"] == "/open":
            server.reply(message, {"accept": True})

    with Server({"websocket.connect": connect}) as server, server.client() as opened, server.client() as waiting:
        opened.upgrade(b"/open")
        opened.opened()
        waiting.upgrade(b"/waiting")
        server.take("websocket.connect", 2)
        server.front.stop_threadsafe()
        assert waiting.response().status == 503
        assert waiting.rest() == b""
        assert opened.close_code() == 1012
        opened.close(1012)
        server.join()
        assert server.exit_code == 0
        assert sorted(message["code"] for message in server.take("websocket.disconnect", 2)) == [1006, 1012]


def test_who_does_not_answer_the_close_is_cut_off_and_still_disconnected() -> None:
    with Server(graceful_timeout=0.1) as server, server.client() as client:
        client.upgrade()
        client.opened()
        server.front.stop_threadsafe()
        assert client.close_code() == 1012
        assert client.rest() == b""
        server.join()
        assert server.take("websocket.disconnect")[0]["code"] == 1012


def test_the_access_log_has_a_line_for_the_handshake_and_one_for_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shmchan.access")
    with Server() as server, server.client() as client:
        client.upgrade()
        client.opened()
        client.close(1000)
        server.take("websocket.disconnect")
    lines = [record.message for record in caplog.records if record.name == "shmchan.access"]
    assert [line.split('"')[1:][0] + line.split('"')[2][:5] for line in lines] == ["WEBSOCKET /chat 101 ", "WEBSOCKET /chat 1000"]
