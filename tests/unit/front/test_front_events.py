"""Server-sent events through a real front, over loopback sockets and both layers."""

import contextlib
import logging
import socket
from collections.abc import Iterator

import pytest

from .harness import Client, Message, Server

pytestmark = pytest.mark.usefixtures("layer_kind")

GET = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n"
BEGIN = {"status": 200, "headers": [[b"content-type", b"text/event-stream"]], "content": b"", "more_content": True}


def subscribe(server: Server, message: Message) -> None:
    """What a consumer does: it joins at once, its response goes out when it is over."""
    server.layer.group_add("news", message["reply_channel"])
    server.reply(message, BEGIN)


def join(server: Server, message: Message) -> None:
    server.layer.group_add("news", message["reply_channel"])
    server.reply(message, {"accept": True})


def serving(**config: object) -> Server:
    layer = config.pop("layer", None)
    return Server({"http.request": subscribe, "websocket.connect": join}, layer=layer, **config)  # type: ignore[arg-type]


@contextlib.contextmanager
def streaming(server: Server, request: bytes = GET) -> Iterator[Client]:
    with server.client() as client:
        client.send(request)
        status, headers = client.head()
        assert (status, dict(headers)["transfer-encoding"]) == (200, "chunked")
        yield client


def chunk(client: Client) -> bytes:
    size = int(client.until(b"\r\n"), 16)
    content = client.exactly(size)
    assert client.exactly(2) == b"\r\n"
    return content


def test_messages_of_a_group_are_events_of_every_stream_in_it() -> None:
    with serving() as server, streaming(server) as one, streaming(server) as two:
        server.layer.send_group("news", {"event": "tick", "data": "a\nb", "id": "1"})
        server.layer.send_group("news", {"data": "second"})
        for client in (one, two):
            assert chunk(client) == b"id: 1\nevent: tick\ndata: a\ndata: b\n\n"
            assert chunk(client) == b"data: second\n\n"


def test_a_stream_says_that_it_is_not_to_be_held_back() -> None:
    with serving() as server, server.client() as client:
        client.send(GET)
        headers = dict(client.head()[1])
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
        assert headers["content-type"] == "text/event-stream"


def test_events_are_no_frames_and_texts_are_no_events(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server, streaming(server) as stream, server.client() as web:
        web.upgrade(b"/news")
        web.opened()
        server.layer.send_group("news", {"data": "for streams"})
        server.layer.send_group("news", {"text": "for sockets"})
        server.layer.send_group("news", {"text": "both", "data": "of them"})
        assert [web.text(), web.text()] == ["for sockets", "both"]
        assert [chunk(stream), chunk(stream)] == [b"data: for streams\n\n", b"data: of them\n\n"]
        assert server.counted("ignored.key") == 0
        web.close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_what_is_sent_to_one_stream_is_an_event_too_and_other_keys_are_told() -> None:
    with serving() as server, streaming(server) as client:
        channel = server.take("http.request")[0]["reply_channel"]
        server.layer.send(channel, {"data": "for you"})
        server.layer.send(channel, {"text": "no event"})
        server.layer.send(channel, {"content": b"data: raw\n\n", "more_content": True})
        server.layer.send(channel, {"data": "last"})
        assert [chunk(client) for _ in range(3)] == [b"data: for you\n\n", b"data: raw\n\n", b"data: last\n\n"]
        assert server.counted("ignored.key") == 1
        server.layer.send(channel, {})
        assert chunk(client) == b""
        client.send(GET)
        assert client.head()[0] == 200


def test_an_event_that_would_forge_another_is_dropped_and_the_stream_lives(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server, streaming(server) as client:
        server.layer.send_group("news", {"event": "a\ndata: forged\n\n", "data": "x"})
        server.layer.send(server.take("http.request")[0]["reply_channel"], {"id": "1\r\n"})
        server.layer.send_group("news", {"data": "good"})
        assert chunk(client) == b"data: good\n\n"
        assert server.counted("bad.event") == 2
    assert "group news: an event is dropped" in caplog.text
    assert "line break" in caplog.text


def test_what_a_group_says_before_the_response_has_begun_waits_for_it() -> None:
    def late(server: Server, message: Message) -> None:
        server.layer.group_add("news", message["reply_channel"])
        server.layer.send_group("news", {"data": "early"})
        server.layer.send(message["reply_channel"], {**BEGIN, "content": b": begun\n\n"})

    with serving() as server:
        server.consumers["http.request"] = late
        with streaming(server) as client:
            assert chunk(client) == b": begun\n\n"
            assert chunk(client) == b"data: early\n\n"


def test_what_waited_for_a_stream_that_never_began_is_dropped_and_counted() -> None:
    def plain(server: Server, message: Message) -> None:
        server.layer.group_add("news", message["reply_channel"])
        server.layer.send_group("news", {"data": "early"})
        server.reply(message, {"status": 200, "content": b"whole"})

    with serving() as server:
        server.consumers["http.request"] = plain
        with server.client() as client:
            for number in range(3):
                client.send(GET)
                assert client.response().body == b"whole"
                server.wait_for(lambda number=number: server.counted("dropped.gone") > number)  # type: ignore[misc]


def test_a_group_may_still_answer_a_request_and_no_text_ends_a_download() -> None:
    def poll(server: Server, message: Message) -> None:
        server.layer.group_add("news", message["reply_channel"])

    with serving() as server, server.client() as client:
        server.consumers["http.request"] = poll
        client.send(GET)
        server.take("http.request")
        server.wait_for(lambda: server.layer.group_channels("news"))
        server.layer.send_group("news", {"status": 200, "content": b"a", "more_content": True})
        client.head()
        assert chunk(client) == b"a"
        server.layer.send_group("news", {"text": "nothing for it"})
        server.layer.send_group("news", {"content": b"b"})
        assert (chunk(client), chunk(client)) == (b"b", b"")
        assert server.counted("ignored.key") == 1


def test_comments_keep_a_silent_stream_alive() -> None:
    with serving(ping_interval=0.05) as server, streaming(server) as client:
        assert [chunk(client) for _ in range(3)] == [b":\n\n"] * 3
        server.layer.send_group("news", {"data": "x"})
        while (content := chunk(client)) == b":\n\n":
            pass
        assert content == b"data: x\n\n"


def test_no_comment_is_put_into_what_an_application_writes_itself() -> None:
    with serving(ping_interval=0.03) as server, streaming(server) as client:
        channel = server.take("http.request")[0]["reply_channel"]
        server.layer.send(channel, {"content": b"data: one", "more_content": True})
        while chunk(client) != b"data: one":
            pass
        (connection,) = server.front.bridge.connections
        exchange = connection._exchange
        assert exchange is not None
        before = exchange.deadline
        server.wait_for(lambda: exchange.deadline != before)
        server.layer.send(channel, {"content": b" event\n\n", "more_content": True})
        assert chunk(client) == b" event\n\n"
        assert chunk(client) == b":\n\n"


def test_an_old_stream_is_ended_well_and_its_client_may_come_back() -> None:
    with serving(websocket_timeout=0.2) as server, streaming(server) as client:
        assert chunk(client) == b""
        assert server.counted("timeout.events") == 1
        assert len(server.take("http.disconnect")) == 1
        client.send(GET)
        assert client.head()[0] == 200


def test_a_client_that_left_is_told_to_the_application() -> None:
    with serving() as server:
        with streaming(server):
            request = server.take("http.request")[0]
        assert server.take("http.disconnect") == [{"reply_channel": request["reply_channel"], "path": "/events"}]
        server.layer.send_group("news", {"data": "for nobody"})
        server.wait_for(lambda: server.counted("dropped.gone") == 1)


def test_a_client_that_does_not_read_fills_its_own_queue_only() -> None:
    with serving(layer={"capacity": 10}) as server, streaming(server) as slow, streaming(server) as quick:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        channel = server.take("http.request")[0]["reply_channel"]
        data = "x" * 100_000
        sent = 0
        while server.layer.channel_statistics(channel)["channel_full_count"] == 0 and sent < 2000:
            server.layer.send_group("news", {"data": data, "id": sent})
            assert chunk(quick).startswith(b"id: %d\n" % sent)
            sent += 1
        assert sent < 2000
        # What fitted comes, once it is read, and in order; then there is room again.
        numbers = [int(chunk(slow).partition(b"\n")[0].removeprefix(b"id: "))]
        while numbers[-1] < sent - 3:
            numbers.append(int(chunk(slow).partition(b"\n")[0].removeprefix(b"id: ")))
        assert numbers == sorted(set(numbers))


def test_stopping_ends_streams_so_that_their_clients_come_back() -> None:
    with serving() as server, streaming(server) as client:
        server.take("http.request")
        server.front.stop_threadsafe()
        assert chunk(client) == b""
        assert client.rest() == b""
        server.join()
        assert (server.exit_code, server.counted("cut.stopping")) == (0, 0)


def test_head_has_no_stream() -> None:
    with serving() as server, server.client() as client:
        client.send(b"HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        assert dict(client.head()[1])["content-type"] == "text/event-stream"
        assert client.head()[0] == 200
        assert len(server.take("http.request", 2)) == 2


def test_an_old_client_reads_events_until_the_connection_ends() -> None:
    with serving() as server, server.client() as client:
        client.send(b"GET /events HTTP/1.0\r\n\r\n")
        client.until(b"\r\n\r\n")
        server.layer.send_group("news", {"data": "old"})
        server.layer.send(server.take("http.request")[0]["reply_channel"], {})
        assert client.rest() == b"data: old\n\n"
