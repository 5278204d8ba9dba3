"""HTTP through a real front, over loopback sockets: FEATURES section 2."""

import contextlib
import logging
import threading
from pathlib import Path

import pytest

from .harness import Message, Server

pytestmark = pytest.mark.usefixtures("layer_kind")

GET = b"GET /hello%20w%C3%B6rld?a=1&b=%20 HTTP/1.1\r\nHost: example.org\r\nX-One: 1\r\nx_drop: 1\r\nX-One:  2\r\n\r\n"


def hello(server: Server, message: Message) -> None:
    server.reply(message, {"status": 200, "headers": [[b"Content-Type", b"text/plain"]], "content": b"hello"})


def test_a_request_has_the_keys_of_the_draft() -> None:
    with Server({"http.request": hello}) as server:
        response = server.request(GET)
        assert (response.status, response.body) == (200, b"hello")
        assert response.get("content-length") == "5"
        assert response.get("content-type") == "text/plain"
        assert response.get("date")
        message = server.take("http.request")[0]
        assert message.pop("reply_channel").startswith("http.response.")
        client = message.pop("client")
        assert client[0] == "127.0.0.1"
        assert type(client[1]) is int
        assert message == {
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/hello wörld",
            "query_string": b"a=1&b=%20",
            "root_path": "",
            "headers": [[b"host", b"example.org"], [b"x-one", b"1"], [b"x-one", b"2"]],
            "body": b"",
            "server": list(server.address),
        }


@pytest.mark.parametrize(
    ("sent", "seen"), [(b"/x", "/app/x"), (b"/app/x", "/app/x"), (b"/app", "/app"), (b"/apple", "/app/apple"), (b"*", "*")]
)
def test_the_path_includes_the_root_path(sent: bytes, seen: str) -> None:
    with Server({"http.request": hello}, root_path="/app") as server:
        server.request(b"OPTIONS " + sent + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        message = server.take("http.request")[0]
        assert (message["path"], message["root_path"]) == (seen, "/app")


def test_a_unix_socket_has_no_addresses(tmp_path: Path) -> None:
    with Server({"http.request": hello}, unix=str(tmp_path / "socket")) as server:
        assert server.request(GET).status == 200
        message = server.take("http.request")[0]
        assert (message["client"], message["server"]) == (None, None)


def test_requests_on_one_connection_are_answered_in_order() -> None:
    def answer(server: Server, message: Message) -> None:
        server.reply(message, {"status": 200, "content": message["path"].encode()})

    with Server({"http.request": answer}) as server, server.client() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50)))
        assert [client.response().body for _ in range(50)] == [b"/%d" % number for number in range(50)]


def test_only_one_request_of_a_connection_is_handed_on_at_a_time() -> None:
    with Server() as server, server.client() as client:
        client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        first = server.take("http.request")[0]
        server.layer.send(first["reply_channel"], {"status": 200, "content": b"1", "more_content": True})
        client.head()
        assert len(server.messages("http.request")) == 1
        server.layer.send(first["reply_channel"], {"content": b""})
        second = server.take("http.request", 2)[1]
        assert second["path"] == "/2"
        assert second["reply_channel"] != first["reply_channel"]
        server.layer.send(second["reply_channel"], {"status": 204})
        assert client.until(b"0\r\n\r\n").endswith(b"1\r\n")
        assert client.response().status == 204


def test_a_body_up_to_a_mebibyte_comes_whole() -> None:
    body = bytes(range(256)) * 4096
    with Server({"http.request": hello}) as server:
        server.request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        message = server.take("http.request")[0]
        assert message["body"] == body
        assert "body_channel" not in message


def test_a_client_that_sends_far_ahead_is_not_read() -> None:
    with Server() as server, server.client() as client:
        client.send(GET)
        request = server.take("http.request")[0]
        ahead = b"".join(b"GET /%04d HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (number, b"x" * 2000) for number in range(60))
        client.send(ahead)
        (connection,) = server.front.bridge.connections
        server.wait_for(lambda: not connection._reading)
        server.consumers["http.request"] = hello
        server.layer.send(request["reply_channel"], {"status": 200, "content": b"first"})
        assert client.response().body == b"first"
        assert [client.response().body for _ in range(60)] == [b"hello"] * 60
        server.wait_for(lambda: connection._reading)


def test_a_body_that_nobody_reads_is_given_up() -> None:
    with (
        Server(layer={"channel_capacity": {"http.request.body*": 2}}, body_timeout=0.7, receive_timeout=0.2) as server,
        server.client() as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))
        assert client.response().status == 503
        assert server.counted("timeout.receive") == 1
        assert len(server.take("http.disconnect")) == 1


CLOSED: Message = {"content": b"", "more_content": False, "closed": True}


@pytest.mark.parametrize("sent", [2_000_000, 3_000_000])
def test_what_nobody_has_read_of_a_body_that_was_answered_is_thrown_away(sent: int) -> None:
    """Else it would fill the layer until it expires, whether the body came whole or not."""
    with Server(listen=["http.request"]) as server, server.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + bytes(sent))
        request = server.take("http.request")[0]
        (connection,) = server.front.bridge.connections
        server.wait_for(lambda: connection.http._body_size == sent)
        server.layer.send(request["reply_channel"], {"status": 200, "content": b"enough"})
        assert client.response().body == b"enough"
        assert server.layer.receive([request["body_channel"]])[1] == CLOSED
        assert server.layer.receive([request["body_channel"]])[1] is None


def read_body(server: Server, message: Message) -> bytes:
    body: bytes = message["body"]
    while True:
        _, chunk = server.layer.receive([message["body_channel"]], block=True)
        assert chunk is not None
        body += chunk["content"]
        if chunk["closed"]:
            return body + b" (closed)"
        if not chunk["more_content"]:
            return body


def test_a_longer_body_streams_with_back_pressure() -> None:
    body = bytes(range(256)) * 4096 * 8
    got: list[bytes] = []

    def upload(server: Server, message: Message) -> None:
        got.append(read_body(server, message))
        server.reply(message, {"status": 201})

    with Server({"http.request": upload}, layer={"capacity": 5}) as server:
        chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:100], body[100:])) + b"0\r\n\r\n"
        assert server.request(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked).status == 201
        assert got == [body]
        assert server.take("http.request")[0]["body_channel"].startswith("http.request.body?")


def test_a_client_that_leaves_in_the_middle_of_its_body_is_told_on_the_body_channel() -> None:
    got: list[bytes] = []

    def upload(server: Server, message: Message) -> None:
        got.append(read_body(server, message))

    with Server({"http.request": upload}) as server:
        with server.client() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" + bytes(2_000_000))
            server.take("http.request")
        server.wait_for(lambda: got)
        assert got[0].endswith(b" (closed)")
        assert len(server.take("http.disconnect")) == 1


def test_a_streamed_response_is_chunked() -> None:
    def stream(server: Server, message: Message) -> None:
        server.reply(message, {"status": 200, "content": b"one", "more_content": True})
        server.reply(message, {"content": b"", "more_content": True})
        server.reply(message, {"content": b"two", "more_content": True})
        server.reply(message, {})

    with Server({"http.request": stream}) as server:
        response = server.request(GET)
        assert response.get("transfer-encoding") == "chunked"
        assert (response.body, response.complete) == (b"onetwo", True)
        old = server.request(b"GET / HTTP/1.0\r\n\r\n")
        assert (old.get("connection"), old.get("transfer-encoding"), old.body) == ("close", None, b"onetwo")


def test_a_streamed_response_waits_for_a_slow_client() -> None:
    total = 200
    chunk = bytes(100_000)
    sent = [0]

    def stream(server: Server, message: Message) -> None:
        pass

    with Server({"http.request": stream}, layer={"capacity": 10}) as server, server.client() as client:
        client.send(GET)
        reply = server.take("http.request")[0]["reply_channel"]

        def producer() -> None:
            message: Message = {"status": 200, "content": chunk, "more_content": True}
            while sent[0] < total:
                try:
                    server.layer.send(reply, message)
                except server.layer.ChannelFull:
                    threading.Event().wait(0.005)
                    continue
                sent[0] += 1
                message = {"content": chunk, "more_content": sent[0] < total - 1}

        thread = threading.Thread(target=producer, daemon=True)
        thread.start()
        server.wait_for(lambda: server.layer.channel_statistics(reply)["channel_full_count"] > 3)
        # The client has read nothing: the kernel's buffers and the capacity are all that went.
        assert sent[0] < total
        response = client.response()
        assert (len(response.body), response.complete) == (total * len(chunk), True)
        thread.join(20)
        assert not thread.is_alive()


def closed(server: Server, channel: str) -> Message | None:
    return server.layer.receive([channel])[1]


def test_a_stream_whose_client_leaves_is_told_on_its_closed_channel() -> None:
    with Server() as server:
        with server.client() as client:
            client.send(GET)
            reply = server.take("http.request")[0]["reply_channel"]
            first = {"status": 200, "content": b"one", "more_content": True, "closed_channel": "closed?1"}
            server.layer.send(reply, first)
            client.until(b"one\r\n")
            assert closed(server, "closed?1") is None
        assert server.wait_for(lambda: closed(server, "closed?1")) == {"content": b"", "more_content": False, "closed": True}


def test_a_stream_that_begins_after_its_client_left_is_told_too() -> None:
    with Server() as server:
        with server.client() as client:
            client.send(GET)
            reply = server.take("http.request")[0]["reply_channel"]
        server.take("http.disconnect")
        server.layer.send(reply, {"status": 200, "more_content": True, "closed_channel": "closed?1"})
        assert server.wait_for(lambda: closed(server, "closed?1"))["closed"]
        server.layer.send(reply, {"status": 200, "more_content": True, "closed_channel": "not a name"})
        server.wait_for(lambda: server.counted("ignored.value") == 1)


def test_a_stream_that_was_whole_is_told_nothing() -> None:
    with Server() as server, server.client() as client:
        client.send(GET)
        reply = server.take("http.request")[0]["reply_channel"]
        server.layer.send(reply, {"status": 200, "content": b"a", "more_content": True, "closed_channel": "closed?1"})
        server.layer.send(reply, {"content": b"b"})
        assert client.response().body == b"ab"
        server.take("http.disconnect")
        assert closed(server, "closed?1") is None


@pytest.mark.parametrize("length", [b"", b"100"])
def test_a_second_status_cuts_the_response_off(length: bytes) -> None:
    """It comes from a worker that failed, or for one that was killed; a good end would pass for the whole."""

    def fail(server: Server, message: Message) -> None:
        headers = [[b"content-length", length]] if length else []
        server.reply(message, {"status": 200, "headers": headers, "content": b"some", "more_content": True})
        server.reply(message, {"status": 502, "content": b"the worker was killed"})

    with Server({"http.request": fail}) as server:
        response = server.request(GET)
        assert (response.status, response.body, response.complete) == (200, b"some", False)
        assert server.counted("cut.response") == 1


def test_a_client_that_was_told_no_length_sees_that_its_response_is_cut_off() -> None:
    """Of HTTP/1.0, as many proxies are: the end of the connection would be a good end."""

    def fail(server: Server, message: Message) -> None:
        server.reply(message, {"status": 200, "content": b"some", "more_content": True})
        server.reply(message, {"status": 502, "content": b"the worker was killed"})

    with Server({"http.request": fail}) as server, server.client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            list(iter(lambda: client.socket.recv(1 << 16), b""))


def test_the_http_timeout_begins_when_the_body_is_there() -> None:
    with Server(http_timeout=0.3, listen=["http.request"]) as server, server.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + bytes(1_900_000))
        body_channel = server.take("http.request")[0]["body_channel"]
        (connection,) = server.front.bridge.connections
        assert connection._exchange is not None
        assert connection._exchange.deadline is None
        client.send(bytes(100_000))
        while (piece := server.layer.receive([body_channel], block=True, timeout=20)[1]) and piece["more_content"]:
            assert piece["content"]
        assert client.response().status == 503
        assert server.counted("timeout.http") == 1


def test_the_connection_ends_where_a_content_length_is_not_reached() -> None:
    def short(server: Server, message: Message) -> None:
        server.reply(message, {"status": 200, "headers": [[b"content-length", b"10"]], "content": b"12345", "more_content": True})
        server.reply(message, {})

    with Server({"http.request": short}) as server:
        response = server.request(GET)
        assert (response.body, response.complete) == (b"12345", False)


def test_what_exceeds_a_content_length_is_cut_off_and_counted() -> None:
    def long(server: Server, message: Message) -> None:
        server.reply(message, {"status": 200, "headers": [[b"content-length", b"3"]], "content": b"12345", "more_content": True})
        server.reply(message, {"content": b"678"})

    with Server({"http.request": long}) as server, server.client() as client:
        client.send(GET)
        assert client.response().body == b"123"
        client.send(GET)
        assert client.response().body == b"123"
        assert server.counted("bad.response") == 2


@pytest.mark.parametrize(
    "answer",
    [
        {"content": b"no status"},
        {"status": "200"},
        {"status": 99},
        {"status": 101},
        {"status": True},
        {"status": 200, "content": "text"},
        {"status": 200, "headers": [[b"x", b"a\r\nInjected: yes"]]},
        {"status": 200, "headers": [[b"x\r\ny", b"a"]]},
        {"status": 200, "headers": [[b"x", b"a\x00"]]},
        {"status": 200, "headers": [[b"", b"a"]]},
        {"status": 200, "headers": [[b"x"]]},
        {"status": 200, "headers": b"x: y"},
        {"status": 200, "headers": [["x", "☃"]]},
        {"status": 200, "headers": [[b"x", 1]]},
    ],
)
def test_an_answer_that_cannot_be_sent_is_a_500_and_logged(answer: Message, caplog: pytest.LogCaptureFixture) -> None:
    with Server({"http.request": lambda server, message: server.reply(message, answer)}) as server:
        response = server.request(GET)
        assert response.status == 500
        assert response.get("injected") is None
        assert server.counted("bad.response") == 1
    assert any("is a 500" in record.message for record in caplog.records)


def test_unknown_keys_are_ignored_and_counted() -> None:
    def answer(server: Server, message: Message) -> None:
        server.reply(message, {"status": 200, "content": b"x", "colour": "red"})

    with Server({"http.request": answer}) as server:
        assert server.request(GET).status == 200
        assert server.counted("ignored.key") == 1


def test_head_has_the_length_and_no_body() -> None:
    with Server({"http.request": hello}) as server, server.client() as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        response = client.response(head=True)
        assert (response.status, response.get("content-length")) == (200, "5")
        assert client.response().body == b"hello"


def test_a_full_http_request_is_a_503_and_the_connection_lives() -> None:
    with Server({"http.request": hello}, layer={"channel_capacity": {"http.request": 2}}) as server:
        server.pause()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for _ in range(3)]
            for client in clients:
                client.send(GET)
            server.wait_for(lambda: server.counted("refused.full") == 1)
            server.consuming.set()
            assert sorted(client.response().status for client in clients) == [200, 200, 503]
            for client in clients:
                client.send(GET)
                assert client.response().status == 200
        assert len(server.take("http.disconnect", 5)) == 5


def test_one_disconnect_follows_each_answered_request() -> None:
    with Server({"http.request": hello}) as server:
        server.request(GET)
        reply_channel = server.take("http.request")[0]["reply_channel"]
        assert server.take("http.disconnect") == [{"reply_channel": reply_channel, "path": "/hello wörld"}]
    assert len(server.messages("http.disconnect")) == 1


def test_one_disconnect_follows_a_client_that_left() -> None:
    with Server() as server:
        with server.client() as client:
            client.send(GET)
            request = server.take("http.request")[0]
        assert server.take("http.disconnect")[0]["reply_channel"] == request["reply_channel"]
        server.layer.send(request["reply_channel"], {"status": 200})
        server.wait_for(lambda: server.counted("dropped.gone") == 1)
    assert len(server.messages("http.disconnect")) == 1


def test_no_disconnect_is_sent_where_nobody_listens() -> None:
    with Server({"http.request": hello}, listen=["http.request"]) as server:
        server.request(GET)
        assert server.layer.channel_statistics("http.disconnect")["messages_count"] == 0


def test_no_answer_is_a_503_after_the_http_timeout() -> None:
    with Server(http_timeout=0.05) as server, server.client() as client:
        client.send(GET)
        assert client.response().status == 503
        assert server.counted("timeout.http") == 1


def test_the_http_timeout_ends_with_the_first_answer() -> None:
    release = threading.Event()

    def slow(server: Server, message: Message) -> None:
        server.layer.send(message["reply_channel"], {"status": 200, "content": b"a", "more_content": True})
        assert release.wait(20)
        server.reply(message, {"content": b"b"})

    with Server({"http.request": slow}) as server, server.client() as client:
        client.send(GET)
        client.head()
        (connection,) = server.front.bridge.connections
        assert connection._exchange is not None
        assert connection._exchange.deadline is None
        release.set()
        assert client.until(b"0\r\n\r\n") == b"1\r\na\r\n1\r\nb\r\n"


def test_malformed_requests_are_answered_and_counted() -> None:
    with Server({"http.request": hello}) as server:
        with server.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert client.response().status == 400
            assert client.rest() == b""
        assert server.messages("http.request") == []
        assert server.counted("refused.malformed") == 1


def test_a_slow_head_is_a_408() -> None:
    with Server(head_timeout=0.5) as server, server.client() as client:
        client.send(b"GET / HT")
        assert client.response().status == 408


def test_a_connection_without_a_request_is_closed() -> None:
    with Server(head_timeout=0.05) as server, server.client() as client:
        assert client.rest() == b""


def test_an_answer_before_the_end_of_the_body_reaches_the_client() -> None:
    """A reset would overtake it, were the rest not read and dropped for a while."""
    with Server({"http.request": hello}, max_body_size=1000) as server, server.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000))
        response = client.response()
        assert (response.status, response.get("connection")) == (413, "close")
        assert client.rest() == b""


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    with Server(write_timeout=0.05) as server, server.client() as client:
        client.send(GET)
        reply = server.take("http.request")[0]["reply_channel"]
        first = {"status": 200, "content": bytes(7 << 20), "more_content": True, "closed_channel": "closed?1"}
        server.layer.send(reply, first)
        server.layer.send(reply, {"content": bytes(7 << 20), "more_content": True})
        server.wait_for(lambda: server.counted("timeout.write") == 1)
        server.wait_for(lambda: not server.front.bridge.connections)
        server.wait_for(lambda: closed(server, "closed?1"))


def test_the_access_log_has_a_line_per_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shmchan.access")
    with Server({"http.request": hello}) as server:
        server.request(GET)
        server.take("http.disconnect")
    lines = [record.message for record in caplog.records if record.name == "shmchan.access"]
    assert len(lines) == 1
    assert '"GET /hello%20w%C3%B6rld?a=1&b=%20" 200 5 ' in lines[0]


def test_the_access_log_can_be_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shmchan.access")
    with Server({"http.request": hello}, access_log=False) as server:
        server.request(GET)
    assert not [record for record in caplog.records if record.name == "shmchan.access"]


def test_stopping_finishes_what_runs_and_closes_what_is_idle() -> None:
    with Server() as server, server.client() as busy, server.client() as idle:
        busy.send(GET)
        reply = server.take("http.request")[0]["reply_channel"]
        server.front.stop_threadsafe()
        assert idle.rest() == b""
        server.layer.send(reply, {"status": 200, "content": b"still"})
        response = busy.response()
        assert (response.body, response.get("connection")) == (b"still", "close")
        assert busy.rest() == b""
        server.join()
        assert server.exit_code == 0
        with pytest.raises(OSError, match="refused"):
            server.connect()


def test_what_is_not_done_within_the_graceful_timeout_is_cut_off() -> None:
    with Server(graceful_timeout=0.05) as server, server.client() as client:
        client.send(GET)
        server.take("http.request")
        server.front.stop_threadsafe()
        assert client.rest() == b""
        server.join()
        assert server.counted("cut.stopping") == 1


def test_a_front_whose_layer_fails_ends_with_1(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(listen=[])
    with server.client() as client:
        server.layer.close()
        client.send(GET)
        client.rest()
    server.join()
    assert server.exit_code == 1
    assert "the front ends" in caplog.text
