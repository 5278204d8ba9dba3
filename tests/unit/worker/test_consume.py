"""One message in a worker's hand: atomicity, errors, control flow, and that no consumer can end its worker."""

import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.exceptions import NotFound

from shmchan import Channel, Group, Message, route, signals
from shmchan.exceptions import (
    ChannelSocketException,
    ConsumeLater,
    ControlFlow,
    DenyConnection,
    RequestAborted,
    RequestTimeout,
    ResponseLater,
    SendNotAvailableOnDemultiplexer,
    WebsocketCloseException,
)
from shmchan.http import Request, Response
from shmchan.layers import InMemoryChannelLayer
from shmchan.layers.base import Lease, Parked
from shmchan.routing import Router
from shmchan.worker import consume
from shmchan.worker.consume import Handler

REPLY = "websocket.send.a!x"
Consumer = Callable[..., Any]


class Bench:
    """A layer and what a worker does with one message on it."""

    def __init__(self) -> None:
        self.layer = InMemoryChannelLayer(capacity=5)

    def lease(self, channel: str) -> Lease:
        lease = self.layer.lease([channel], 10.0)
        assert lease is not None
        return lease

    def run(self, consumer: Consumer, channel: str = "websocket.receive", **options: Any) -> Parked | None:
        """One message, consumed by this consumer."""
        self.layer.send(channel, {"reply_channel": REPLY, "path": "/p", "text": "x"})
        return self.handle([route(channel, consumer, **options)], channel)

    def handle(self, routing: Any, channel: str) -> Parked | None:
        router = Router(routing)
        return Handler(self.layer, router).handle(self.lease(channel))

    def replies(self) -> list[dict[str, Any]]:
        """What the client gets."""
        return self.all("websocket.send.a!")

    def all(self, channel: str) -> list[dict[str, Any]]:
        found = []
        while (message := self.layer.receive([channel])[1]) is not None:
            found.append(message)
        return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.layer.global_statistics()["memory_used"] == 0, "a message was never settled"
    bench.layer.close()


@pytest.fixture(autouse=True)
def errors(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "shmchan.worker")
    return caplog


def raising(error: BaseException | type[BaseException], *texts: str) -> Consumer:
    """A consumer that sends texts, then raises."""

    def consumer(message: Message) -> None:
        for text in texts:
            message.reply_channel.send({"text": text})
        raise error

    return consumer


def test_what_a_consumer_sends_goes_out_when_it_is_done(bench: Bench) -> None:
    seen = []

    def consumer(message: Message) -> None:
        Group("g").add(message.reply_channel)
        message.reply_channel.send({"n": 1})
        Group("g", channel_layer=message.channel_layer).send({"n": 2})
        Channel("log", channel_layer=message.channel_layer).send({"n": 3})
        seen.append(bench.layer.receive(["websocket.send.a!", "log"]))

    from shmchan import channel_layers

    before = channel_layers.set("default", bench.layer)
    try:
        assert bench.run(consumer) is None
    finally:
        channel_layers.set("default", before)
    assert seen == [(None, None)]
    assert bench.replies() == [{"n": 1}, {"n": 2}]
    assert bench.all("log") == [{"n": 3}]


def test_the_outbound_part_of_decorators_is_buffered_too(bench: Bench) -> None:
    def decorated(message: Message) -> None:
        message.reply_channel.send({"n": 1})
        try:
            message.reply_channel.send({"n": 2})
            raise RuntimeError("on purpose")
        finally:
            message.reply_channel.send({"n": 3})

    bench.run(decorated)
    assert bench.replies() == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_immediately_overtakes_what_is_buffered(bench: Bench) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"n": 1})
        message.reply_channel.send({"n": 2}, immediately=True)

    bench.run(consumer)
    assert bench.replies() == [{"n": 2}, {"n": 1}]


def test_groups_of_the_route_are_keyword_arguments(bench: Bench) -> None:
    bench.run(lambda message, letter: message.reply_channel.send({"letter": letter}), path="/(?P<letter>.)")
    assert bench.replies() == [{"letter": "p"}]


def test_a_failed_consumer_is_logged_and_what_it_sent_goes_out(bench: Bench, errors: pytest.LogCaptureFixture) -> None:
    bench.run(raising(RuntimeError("on purpose"), "a"))
    assert bench.replies() == [{"text": "a"}]
    (record,) = errors.records
    assert "raising.<locals>.consumer failed" in record.getMessage()
    assert REPLY in record.getMessage()
    assert record.exc_info is not None
    assert "on purpose" in errors.text


def test_discard_on_error_drops_what_it_sent(bench: Bench) -> None:
    bench.run(raising(RuntimeError("on purpose"), "a"), discard_on_error=True)
    assert bench.replies() == []
    bench.run(raising(RuntimeError("on purpose"), "a"), "websocket.connect", discard_on_error=True)
    assert [reply["status"] for reply in bench.replies()] == [500]


@pytest.mark.parametrize("channel", ["http.request", "websocket.connect"])
def test_an_unanswered_client_gets_a_500(bench: Bench, channel: str) -> None:
    bench.run(raising(RuntimeError("on purpose")), channel)
    (reply,) = bench.replies()
    assert reply["status"] == 500
    assert reply.get("accept") is (False if channel == "websocket.connect" else None)


@pytest.mark.parametrize("immediately", [False, True])
def test_an_answered_client_gets_no_500(bench: Bench, immediately: bool) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"accept": True}, immediately=immediately)
        raise RuntimeError("on purpose")

    bench.run(consumer, "websocket.connect")
    assert bench.replies() == [{"accept": True}]


def test_a_socket_lives_on_after_a_failed_receive_unless_told_otherwise(bench: Bench) -> None:
    bench.run(raising(RuntimeError("on purpose")))
    assert bench.replies() == []
    bench.run(raising(RuntimeError("on purpose"), "a"), on_error="close")
    assert bench.replies() == [{"text": "a"}, {"close": 1011}]


def test_deny_connection_rejects_and_drops_what_was_sent_to_the_client(bench: Bench) -> None:
    def consumer(message: Message) -> None:
        message.reply_channel.send({"text": "secret"})
        Channel("log", channel_layer=message.channel_layer).send({"n": 1})
        raise DenyConnection

    bench.run(consumer, "websocket.connect")
    assert bench.replies() == [{"close": True}]
    assert bench.all("log") == [{"n": 1}]


def test_deny_connection_elsewhere_is_logged(bench: Bench, errors: pytest.LogCaptureFixture) -> None:
    bench.run(raising(DenyConnection, "a"))
    assert bench.replies() == [{"text": "a"}]
    assert "only websocket.connect can be denied" in errors.text


@pytest.mark.parametrize(("code", "close"), [(None, True), (1000, 1000), (4001, 4001)])
def test_a_close_exception_closes(bench: Bench, code: int | None, close: object) -> None:
    bench.run(raising(WebsocketCloseException(code), "a"))
    assert bench.replies() == [{"text": "a"}, {"close": close}]


def test_a_socket_exception_of_ones_own_is_run(bench: Bench) -> None:
    class Mine(ChannelSocketException):
        def run(self, message: Message) -> None:
            message.reply_channel.send({"text": "from run"})

    bench.run(raising(Mine))
    assert bench.replies() == [{"text": "from run"}]


def test_response_later_sends_what_was_sent_and_nothing_else(bench: Bench) -> None:
    bench.run(raising(ResponseLater, "a"), "http.request")
    bench.run(raising(ResponseLater), "http.request")
    assert bench.replies() == [{"text": "a"}]


def test_request_timeout_is_a_408_unless_answered(bench: Bench) -> None:
    bench.run(raising(RequestTimeout), "http.request")
    bench.run(raising(RequestTimeout, "answered"), "http.request")
    first, second = bench.replies()
    assert first["status"] == 408
    assert second == {"text": "answered"}


def test_what_werkzeug_raises_answers_a_request_unless_answered(bench: Bench, errors: pytest.LogCaptureFixture) -> None:
    def form(message: Message) -> Response:
        return Response(Request(message).form["name"])

    bench.layer.send("http.request", {"reply_channel": REPLY, "method": "POST", "path": "/p"})
    bench.handle([route("http.request", form)], "http.request")
    bench.run(raising(NotFound), "http.request")
    statuses = [answer["status"] for answer in bench.replies()]
    assert statuses == [400, 404]
    assert "there is no 'name'" in errors.text
    assert not [record for record in errors.records if record.levelno >= logging.ERROR]
    bench.run(raising(NotFound, "answered"), "http.request")
    bench.run(raising(NotFound))
    assert bench.replies() == [{"text": "answered"}]
    assert len([record for record in errors.records if record.levelno >= logging.ERROR]) == 2


def test_request_aborted_answers_nobody(bench: Bench, errors: pytest.LogCaptureFixture) -> None:
    bench.run(raising(RequestAborted), "http.request")
    assert bench.replies() == []
    assert not [record for record in errors.records if record.levelno >= logging.ERROR]


def test_consume_later_drops_what_was_buffered_and_comes_again_in_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume, "FIRST_BACKOFF", 0.0)
    tries: list[str] = []

    def consumer(message: Message) -> None:
        tries.append(message["text"])
        message.reply_channel.send({"try": len(tries)})
        if len(tries) < 3:
            raise ConsumeLater

    for text in ("first", "second"):
        bench.layer.send("websocket.receive", {"reply_channel": REPLY, "text": text})
    handler = Handler(bench.layer, Router([route("websocket.receive", consumer)]))
    for _ in range(4):
        assert handler.handle(bench.lease("websocket.receive")) is None
    assert tries == ["first"] * 3 + ["second"]
    assert bench.replies() == [{"try": 3}, {"try": 4}]


def test_consume_later_is_given_up_after_ten_tries(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, errors: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consume, "FIRST_BACKOFF", 0.0)
    tries = []

    def consumer(message: Message) -> None:
        tries.append(1)
        message.reply_channel.send({"text": "never"})
        raise ConsumeLater

    bench.layer.send("http.request", {"reply_channel": REPLY})
    handler = Handler(bench.layer, Router([route("http.request", consumer)]))
    for _ in range(10):
        handler.handle(bench.lease("http.request"))
    assert len(tries) == 10
    assert bench.layer.lease(["http.request"], 0) is None
    assert [reply["status"] for reply in bench.replies()] == [500]
    assert "10 times" in errors.text


def test_the_back_off_grows_and_stays_bounded() -> None:
    delays = [min(consume.LONGEST_BACKOFF, consume.FIRST_BACKOFF * 2**attempt) for attempt in range(consume.MAX_TRIES - 1)]
    assert delays == sorted(delays)
    assert sum(delays) < 60  # what is put back must not be forgotten by its client meanwhile


def wrong_exit(message: Message) -> None:
    sys.exit(3)


def wrong_run(message: Message) -> None:
    class Broken(ChannelSocketException):
        def run(self, message: Any) -> None:
            raise KeyError("broken run")

    raise Broken


def wrong_send(message: Message) -> None:
    message.reply_channel.send("no dict")


def wrong_name(message: Message) -> None:
    Channel("no such name!!", channel_layer=message.channel_layer).send({})


def wrong_value(message: Message) -> None:
    message.reply_channel.send({"set": {1}})


def wrong_arguments(message: Message, missing: str) -> None: ...


def wrong_content(message: Message) -> None:
    message.content = None  # type: ignore[assignment]
    raise RuntimeError("after ruining its message")


def wrong_coroutine(message: Message) -> Any:
    async def later() -> None: ...

    return later()


class OwnControl(ControlFlow):
    """Nobody knows what this asks for."""


@pytest.mark.parametrize(
    "consumer",
    [
        wrong_exit,
        wrong_run,
        wrong_send,
        wrong_name,
        wrong_value,
        wrong_arguments,
        wrong_content,
        wrong_coroutine,
        raising(SystemExit),
        raising(KeyboardInterrupt),
        raising(GeneratorExit),
        raising(BaseException("bare")),
        raising(MemoryError),
        raising(RecursionError),
        raising(StopIteration),
        raising(ChannelSocketException),
        raising(OwnControl),
        raising(SendNotAvailableOnDemultiplexer),
    ],
    ids=lambda consumer: consumer.__name__,
)
@pytest.mark.parametrize("channel", ["http.request", "websocket.connect", "websocket.receive", "job"])
def test_no_consumer_ends_its_worker(bench: Bench, consumer: Consumer, channel: str, errors: pytest.LogCaptureFixture) -> None:
    assert bench.run(consumer, channel) is None
    serious = [record for record in errors.records if record.levelno >= logging.ERROR]
    assert len(serious) == 1, "one clear message"
    assert [reply["status"] for reply in bench.replies()] == ([500] if channel in ("http.request", "websocket.connect") else [])


@pytest.mark.parametrize(
    "wish", [ConsumeLater, DenyConnection, RequestTimeout, RequestAborted, ResponseLater, WebsocketCloseException]
)
@pytest.mark.parametrize("content", [{}, {"reply_channel": None}, {"reply_channel": "bad name"}, {"reply_channel": 5}])
@pytest.mark.parametrize("channel", ["job", "websocket.connect"])
def test_no_wish_without_a_client_ends_its_worker(
    bench: Bench, wish: type[BaseException], content: dict[str, Any], channel: str
) -> None:
    bench.layer.send(channel, content)
    assert bench.handle([route(channel, raising(wish))], channel) is None
    bench.layer.flush()


@pytest.mark.parametrize("result", [None, 5, "text", {"status": 200}, [], object()])
def test_what_a_consumer_returns_is_ignored(bench: Bench, result: object, errors: pytest.LogCaptureFixture) -> None:
    bench.run(lambda message: result)
    assert bench.replies() == []
    assert errors.records == []


def test_what_is_returned_instead_of_an_answer_is_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def nonsense(message: Message) -> tuple[int, str]:
        return 200, "hello"

    def answered(message: Message) -> str:
        message.reply_channel.send({"status": 200})
        return "done"

    handler = Handler(bench.layer, Router([route("http.request", nonsense, path="/n"), route("http.request", answered)]))
    for path in ("/n", "/n", "/a"):
        bench.layer.send("http.request", {"reply_channel": REPLY, "path": path})
        assert handler.handle(bench.lease("http.request")) is None
    assert bench.replies() == [{"status": 200}]
    (said,) = caplog.messages
    assert "nonsense returned a tuple on http.request" in said
    assert "return one, or send" in said


def test_a_consumer_with_a_yield_in_it_is_told_that_it_never_ran(bench: Bench, errors: pytest.LogCaptureFixture) -> None:
    def generator(message: Message) -> Iterator[None]:
        message.reply_channel.send({"status": 200})
        yield

    bench.run(generator, "http.request")
    assert [reply["status"] for reply in bench.replies()] == [500]
    assert "nothing of it ran" in errors.text


def test_a_returned_response_is_sent(bench: Bench) -> None:
    bench.run(lambda message: Response("hello", 201, [("a", "b")]), "http.request")
    assert bench.replies() == [{"status": 201, "headers": [[b"a", b"b"]], "content": b"hello", "more_content": False}]


def test_a_message_that_no_route_matches_is_logged_and_answered(bench: Bench, errors: pytest.LogCaptureFixture) -> None:
    bench.run(lambda message: None, "http.request", path="/never")
    assert [reply["status"] for reply in bench.replies()] == [500]
    assert "no route matches" in errors.text


@pytest.mark.parametrize("match", ["raise", "nonsense"])
def test_a_route_that_fails_to_match_ends_no_worker(bench: Bench, match: str, errors: pytest.LogCaptureFixture) -> None:
    class Foreign:
        def channel_names(self) -> set[str]:
            return {"job"}

        def match(self, message: Message) -> Any:
            if match == "raise":
                raise RuntimeError("on purpose")
            return 5

    bench.layer.send("job", {})
    assert bench.handle([Foreign()], "job") is None
    assert "matching" in errors.text


def test_a_full_target_leaves_a_parked_outbox(bench: Bench) -> None:
    for _ in range(5):
        bench.layer.send("full", {})
    parked = bench.run(lambda message: Channel("full", channel_layer=bench.layer).send({"n": 1}))
    assert parked is not None
    bench.layer.receive(["full"])
    assert bench.layer.push(parked)
    assert len(bench.all("full")) == 5


def test_messages_to_another_layer_go_out_too(bench: Bench, errors: pytest.LogCaptureFixture) -> None:
    with InMemoryChannelLayer(capacity=1) as other:
        other.group_add("g", "b")

        def consumer(message: Message) -> None:
            Channel("a", channel_layer=other).send({"n": 1})
            Channel("a", channel_layer=other).send({"n": 2})
            Group("g", channel_layer=other).send({"n": 3})

        bench.run(consumer)
        assert (other.receive(["a"]), other.receive(["b"])) == (("a", {"n": 1}), ("b", {"n": 3}))
        assert "dropped" in errors.text


def test_a_thread_with_the_consumers_context_that_outlives_it_sends_at_once(bench: Bench) -> None:
    go, threads = threading.Event(), []

    def consumer(message: Message) -> None:
        def late() -> None:
            go.wait(30.0)
            message.reply_channel.send({"n": 2})

        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(late,)))
        threads[0].start()
        message.reply_channel.send({"n": 1})

    bench.run(consumer)
    go.set()
    threads[0].join(30.0)
    assert bench.replies() == [{"n": 1}, {"n": 2}]


def test_context_variables_of_one_consumer_are_not_seen_by_the_next(bench: Bench) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    seen = []

    def consumer(message: Message) -> None:
        seen.append(variable.get())
        variable.set(1)

    bench.run(consumer)
    bench.run(consumer)
    assert seen == [0, 0]


def test_signals_surround_a_consumer(bench: Bench) -> None:
    calls: list[str] = []

    def started(sender: object, message: Message) -> None:
        calls.append(f"started {message['text']}")

    def finished(sender: object, message: Message) -> None:
        calls.append(f"finished, sent {len(bench.replies())}")

    signals.consumer_started.connect(started)
    signals.consumer_finished.connect(finished)
    try:
        bench.run(raising(RuntimeError("on purpose"), "a"))
    finally:
        signals.consumer_started.disconnect(started)
        signals.consumer_finished.disconnect(finished)
    assert calls == ["started x", "finished, sent 1"]


def test_the_policy_of_the_route_is_set_before_the_consumer_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(bench.layer, "set_policy", lambda lease, policy: calls.append(policy))
    for channel, options in (
        ("job", {}),
        ("job", {"on_crash": "redeliver"}),
        ("http.request", {}),
        ("http.request", {"on_crash": "drop"}),
    ):
        bench.run(lambda message: calls.append("ran"), channel, **options)
    assert calls == ["drop", "ran", "redeliver", "ran", "notify", "ran", "drop", "ran"]
