"""WsgiConsumer: PEP 3333 from the application's side, and what goes out when."""

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from shmchan.exceptions import RequestAborted, RequestTimeout
from shmchan.http import WsgiConsumer, wsgi
from shmchan.http.streaming import PIECE

from .harness import Exchange, content_of, headers_of

Start = Callable[..., Callable[[bytes], None]]
PLAIN = [("Content-Type", "text/plain")]


class Pieces:
    """An iterable that notes its close."""

    def __init__(self, *pieces: bytes, error: BaseException | None = None) -> None:
        self.pieces = iter(pieces)
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for piece in self.pieces:
            return piece
        if self.error is not None:
            raise self.error
        raise StopIteration

    def close(self) -> None:
        self.closed += 1


def giving(result: Any, status: str = "200 OK", headers: list[tuple[str, str]] = PLAIN) -> Any:
    def app(environ: dict[str, Any], start_response: Start) -> Any:
        start_response(status, headers)
        return result

    return app


def test_a_strict_validator_finds_nothing() -> None:
    seen = []

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        seen.append(environ["wsgi.input"].read(100))
        environ["wsgi.errors"].flush()
        start_response("201 Created", [("Content-Type", "text/plain")])
        return iter([b"one", b"two"])

    checked = validator(app)  # type: ignore[arg-type]
    answers = Exchange(method="POST", body=b"abc", headers=[[b"content-length", b"3"]]).run(checked)
    assert seen == [b"abc"]
    assert (answers[0]["status"], content_of(answers)) == (201, b"onetwo")


def test_one_piece_is_one_message_with_its_length() -> None:
    (answer,) = Exchange().run(giving([b"hello"]))
    assert (answer["status"], answer["content"], answer["more_content"]) == (200, b"hello", False)
    assert headers_of(answer) == {b"content-type": b"text/plain", b"content-length": b"5"}


def test_a_piece_as_long_as_the_length_says_is_one_message() -> None:
    pieces = Pieces(b"", b"hello", b"")
    (answer,) = Exchange().run(giving(pieces, headers=[("Content-Length", "5")]))
    assert (answer["content"], answer["more_content"], pieces.closed) == (b"hello", False, 1)


def test_an_answer_without_content_is_one_message() -> None:
    (answer,) = Exchange().run(giving([], status="302 Found", headers=[("Location", "/x")]))
    assert (answer["status"], answer["content"], headers_of(answer)) == (302, b"", {b"location": b"/x"})


def test_pieces_go_out_while_they_are_made() -> None:
    exchange = Exchange()
    arrived: list[list[Any]] = []

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"one"
        arrived.append([answer["content"] for answer in exchange.answers()])
        yield b""
        arrived.append([answer["content"] for answer in exchange.answers()])
        yield b"two"
        arrived.append([answer["content"] for answer in exchange.answers()])

    answers = exchange.run(app)
    assert arrived == [[b"one"], [], [b"two"]]
    assert [(answer["content"], answer["more_content"]) for answer in answers] == [(b"", False)]


def test_what_was_written_goes_out_before_what_is_returned() -> None:
    exchange = Exchange()
    seen = []

    def app(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"one")
        write(b"")
        write(b"two")
        seen.extend(exchange.answers())
        return [b"three"]

    answers = seen + exchange.run(app)
    assert [answer["content"] for answer in seen] == [b"one", b"two"]
    assert content_of(answers) == b"onetwothree"
    assert b"content-length" not in headers_of(answers[0])


@pytest.mark.parametrize("length", [PIECE, 3 * PIECE + 1, (1 << 20) + 1])
def test_long_pieces_are_sent_in_shorter_ones(length: int) -> None:
    data = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    exchange = Exchange()
    arrived: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        for start in range(0, length, 8 * PIECE):
            yield data[start : start + 8 * PIECE]
            arrived.extend(exchange.answers())

    arrived += exchange.run(app)
    assert content_of(arrived) == data
    assert max(len(answer["content"]) for answer in arrived) == PIECE


def test_one_long_piece_is_a_stream_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi, "LONGEST_WHOLE", 4)
    (whole,) = Exchange().run(giving([b"four"]))
    assert whole["more_content"] is False
    answers = Exchange().run(giving([b"fiver"]))
    assert [answer["more_content"] for answer in answers] == [True, False]
    assert headers_of(answers[0])[b"content-length"] == b"5"


@pytest.mark.parametrize(
    ("method", "status", "result", "length"),
    [
        ("HEAD", "200 OK", [b"hello"], b"5"),
        ("HEAD", "200 OK", [b"hello", b"you"], None),
        ("HEAD", "200 OK", [], None),
        ("GET", "304 Not Modified", [], None),
        ("GET", "204 No Content", [b"nonsense"], b"8"),
    ],
)
def test_what_has_no_content_is_not_asked_for_it(method: str, status: str, result: Any, length: bytes | None) -> None:
    answers = Exchange(method=method).run(giving(result, status=status))
    assert content_of(answers) == b""
    assert headers_of(answers[0]).get(b"content-length") == length
    assert [answer["more_content"] for answer in answers][-1] is False


def test_of_an_endless_stream_head_takes_one_piece() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x"

    answers = Exchange(method="HEAD").run(giving(endless()))
    assert content_of(answers) == b""


def test_of_what_was_written_and_returned_head_tells_no_length() -> None:
    def app(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        start_response("200 OK", PLAIN)(b"written")
        return [b"returned"]

    (answer,) = Exchange(method="HEAD").run(app)
    assert b"content-length" not in headers_of(answer)


def test_nothing_of_what_a_length_promised_is_no_whole_response() -> None:
    answers = Exchange().run(giving([], headers=[("Content-Length", "5")]))
    assert content_of(answers) == b""
    assert [answer["more_content"] for answer in answers] == [True, False]  # which the front cuts off
    assert len(Exchange(method="HEAD").run(giving([], headers=[("Content-Length", "5")]))) == 1
    assert len(Exchange().run(giving([], headers=[("Content-Length", "0")]))) == 1


def test_what_exceeds_the_length_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    answers = Exchange(path="/long").run(giving([b"hello", b"you", b"all"], headers=[("Content-Length", "5")]))
    assert content_of(answers) == b"hello"
    assert "/long: 6 bytes exceed the content-length and are left out" in caplog.text


def test_nothing_is_written_after_the_whole() -> None:
    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        write = start_response("200 OK", [("Content-Length", "5")])
        yield b"hello"
        write(b"more")

    exchange = Exchange()
    with pytest.raises(RuntimeError, match="as long as the content-length"):
        exchange.run(app)
    assert content_of(exchange.answers()) == b"hello"


# --- what goes wrong


def test_an_exception_before_the_response_has_sent_nothing() -> None:
    exchange = Exchange()
    pieces = Pieces(error=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        exchange.run(giving(pieces))
    assert exchange.answers() == []
    assert pieces.closed == 1


def test_an_exception_in_the_middle_leaves_the_response_without_an_end() -> None:
    exchange = Exchange()
    pieces = Pieces(b"some", error=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        exchange.run(giving(pieces))
    assert [answer["more_content"] for answer in exchange.answers()] == [True]
    assert pieces.closed == 1


def test_an_error_replaces_a_response_that_has_not_begun() -> None:
    def app(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        start_response("200 OK", PLAIN)
        try:
            raise ValueError("late")
        except ValueError:
            start_response("503 Sorry", [("X-Error", "yes")], sys.exc_info())
        return [b"sorry"]

    (answer,) = Exchange().run(app)
    assert (answer["status"], headers_of(answer)[b"x-error"]) == (503, b"yes")


def test_an_error_after_the_beginning_is_raised_again() -> None:
    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"some"
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("503 Sorry", PLAIN, sys.exc_info())

    with pytest.raises(ValueError, match="too late"):
        Exchange().run(app)


@pytest.mark.parametrize(
    ("app", "error", "text"),
    [
        (lambda environ, start: [b"x"], RuntimeError, "before it called start_response"),
        (lambda environ, start: [], RuntimeError, "did not call start_response"),
        (lambda environ, start: (start("200 OK", []), start("200 OK", []), [b""])[2], RuntimeError, "called twice"),
        (giving(["text"]), TypeError, "gives bytes, not str"),
        (giving([b""], status="OK"), TypeError, "'200 OK', not 'OK'"),
        (giving([b""], headers=[("x", 1)]), TypeError, "str or bytes"),  # type: ignore[list-item]
        (lambda environ, start: None, TypeError, "not iterable"),
    ],
)
def test_what_is_no_wsgi_is_an_error(app: Any, error: type[Exception], text: str) -> None:
    exchange = Exchange()
    with pytest.raises(error, match=text):
        exchange.run(app)
    assert exchange.answers() == []


def test_an_application_is_a_callable() -> None:
    with pytest.raises(TypeError, match="is a callable, not 5"):
        WsgiConsumer(5)  # type: ignore[arg-type]


def test_a_client_that_leaves_stops_the_iteration() -> None:
    exchange = Exchange()
    pieces = Pieces(*[b"x"] * 1000)

    def app(environ: dict[str, Any], start_response: Start) -> Pieces:
        start_response("200 OK", PLAIN)(b"first")
        (answer,) = exchange.answers()
        exchange.layer.send(answer["closed_channel"], {"content": b"", "more_content": False, "closed": True})
        return pieces

    with pytest.raises(RequestAborted, match="client left"):
        exchange.run(app)
    assert pieces.closed == 1
    assert len([*pieces]) > 990


def test_a_client_that_leaves_is_missed_though_there_is_nothing_to_send() -> None:
    exchange = Exchange()

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"first"
        (answer,) = exchange.answers()
        exchange.layer.send(answer["closed_channel"], {"content": b"", "more_content": False, "closed": True})
        while True:
            yield b""

    with pytest.raises(RequestAborted, match="client left"):
        exchange.run(app)


def test_a_front_that_dies_stops_the_iteration() -> None:
    exchange = Exchange()

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"first"
        exchange.port.close()
        while True:
            yield b"more"

    with pytest.raises(RequestAborted, match="front died"):
        exchange.run(app)


def swallowing(environ: dict[str, Any], start_response: Start) -> list[bytes]:
    """What frameworks do with whatever a view raises."""
    try:
        environ["wsgi.input"].read()
    except Exception:  # noqa: BLE001
        start_response("500 Internal Server Error", PLAIN, sys.exc_info())
    return [b"oh no"]


def test_a_body_that_came_too_slowly_is_no_error_of_the_application() -> None:
    exchange = Exchange(method="POST", body_channel="http.request.body?x")
    with pytest.raises(RequestTimeout):
        exchange.run(swallowing, body_timeout=0.01)
    assert exchange.answers() == []


def test_who_left_in_the_body_is_not_answered() -> None:
    exchange = Exchange(method="POST", body_channel="http.request.body?x")
    exchange.send_body(closed=True, more_content=False)
    with pytest.raises(RequestAborted):
        exchange.run(swallowing)
    assert exchange.answers() == []


# --- what it offers besides


def test_the_rest_of_a_body_is_read_piece_by_piece_and_what_nobody_reads_is_dropped() -> None:
    exchange = Exchange(method="POST", body=b"one", body_channel="http.request.body?x")
    exchange.send_body(b"two")
    exchange.send_body(b"three", more_content=False)

    def app(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        start_response("200 OK", PLAIN)
        return [environ["wsgi.input"].read(4)]

    assert content_of(exchange.run(app)) == b"onet"
    assert exchange.layer.receive(["http.request.body?x"]) == (None, None)


def test_files_are_sent_in_pieces_of_a_good_size_and_closed() -> None:
    file = io.BytesIO(b"x" * (2 * PIECE + 1))

    def app(environ: dict[str, Any], start_response: Start) -> Any:
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](file, 4096)

    answers = Exchange().run(app)
    assert [len(answer["content"]) for answer in answers] == [PIECE, PIECE, 1, 0]
    assert file.closed


def test_groups_of_the_route_and_the_message_are_in_the_environ() -> None:
    seen = {}

    def app(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", PLAIN)
        return []

    exchange = Exchange()
    WsgiConsumer(app)(exchange.message, room="lobby")
    assert seen["wsgiorg.routing_args"] == ((), {"room": "lobby"})
    assert seen["shmchan.message"] is exchange.message


def test_logs_name_the_application() -> None:
    assert repr(WsgiConsumer(swallowing)).endswith("test_wsgi.swallowing)")
    assert repr(WsgiConsumer(Pieces)).endswith("test_wsgi.Pieces)")
