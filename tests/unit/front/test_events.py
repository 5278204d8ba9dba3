"""What messages become on a stream of events, and what cannot become one."""

from typing import Any

import pytest

from shmchan.front.answers import read_answer
from shmchan.front.events import EventStream, is_event, is_event_stream, read_event, with_defaults


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"data": "hello"}, b"data: hello\n\n"),
        ({"data": ""}, b"data: \n\n"),
        ({"data": "a\nb\r\nc\rd\n"}, b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        ({"data": "a\x0bb\u2028c\x85d"}, "data: a\x0bb\u2028c\x85d\n\n".encode()),
        ({"event": "tick", "data": "1"}, b"event: tick\ndata: 1\n\n"),
        ({"event": "tick"}, b"event: tick\ndata:\n\n"),
        ({"id": "7", "data": "x"}, b"id: 7\ndata: x\n\n"),
        ({"id": 7, "data": None}, b"id: 7\n\n"),
        ({"id": ""}, b"id: \n\n"),
        ({"retry": 5000}, b"retry: 5000\n\n"),
        ({"comment": "a\nb"}, b": a\n: b\n\n"),
        (
            {"data": "ü", "event": "ä", "id": "ß", "retry": 0, "comment": ""},
            ": \nretry: 0\nid: ß\nevent: ä\ndata: ü\n\n".encode(),
        ),
        ({}, b""),
        ({"event": None}, b""),
    ],
)
def test_a_message_is_an_event(message: dict[str, Any], content: bytes) -> None:
    event = read_event(message, group=False)
    assert (event.content, event.problems) == (content, [])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"event": "a\ndata: forged", "data": "x"}, "event is 'a.ndata: forged', which has a line break"),
        ({"event": "a\r"}, "line break"),
        ({"id": "a\n\n", "data": "x"}, "line break"),
        ({"id": "a\x00b"}, "NUL"),
        ({"data": b"bytes"}, "data is str, this is a bytes"),
        ({"data": {"a": 1}}, "data is str, this is a dict"),
        ({"event": 1}, "event is str, this is a int"),
        ({"id": True}, "id is str or int, this is a bool"),
        ({"retry": "1"}, "retry is int, this is a str"),
        ({"retry": -1}, "retry is -1"),
        ({"comment": 1}, "comment is str"),
    ],
)
def test_what_cannot_be_an_event_is_none(message: dict[str, Any], words: str) -> None:
    event = read_event(message, group=False)
    assert event.content == b""
    ((counter, text),) = event.problems
    assert counter == "bad.event"
    assert words.replace(".n", "\\n") in text


def test_other_keys_are_told_but_for_those_of_others_in_a_group() -> None:
    message = {"data": "x", "text": "y", "close": True, "colour": "red"}
    assert [text.split("'")[1] for _, text in read_event(message, group=False).problems] == ["text", "close", "colour"]
    assert [text.split("'")[1] for _, text in read_event(message, group=True).problems] == ["colour"]
    assert read_answer({"text": "y", "data": "x", "id": "1"}, group=True).problems == []
    assert read_answer({"event": "x"}, group=True).frames == []
    assert len(read_answer({"text": "y", "data": "x"}).problems) == 1


def test_what_has_a_key_of_an_event_is_one() -> None:
    assert [key for key in ("event", "data", "id", "retry", "comment", "text", "content") if is_event({key: None})] == [
        "event",
        "data",
        "id",
        "retry",
        "comment",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"text/event-stream", True), (b"Text/Event-Stream ; charset=utf-8", True), (b"text/event-streams", False), (b"", False)],
)
def test_a_response_is_a_stream_of_events_by_its_type(value: bytes, expected: bool) -> None:
    assert is_event_stream([(b"x", b"text/event-stream"), (b"content-type", value)]) is expected
    assert not is_event_stream([])
    assert not is_event_stream([(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")])
    assert not is_event_stream([(b"content-type", b"text/event-stream"), (b"content-length", b"7")])


def test_streams_are_not_held_back_unless_the_application_says_otherwise() -> None:
    assert with_defaults([(b"cache-control", b"no-store")]) == [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
    assert dict(with_defaults([])) == {b"cache-control": b"no-cache", b"x-accel-buffering": b"no"}


def test_a_stream_is_cared_for_when_it_is_silent_and_when_it_is_old() -> None:
    stream = EventStream(100.0, 20.0, 150.0)
    assert stream.next_deadline(100.0) == 120
    assert not stream.needs_comment(119.0)
    assert stream.needs_comment(120.0)
    assert not stream.is_old(120.0)
    stream.sent(b"data: x\n\n", 135.0)
    assert stream.next_deadline(135.0) == 150
    assert not stream.needs_comment(150.0)
    assert stream.is_old(150.0)
    silent = EventStream(100.0, None, 150.0)
    assert (silent.next_deadline(100.0), silent.needs_comment(149.0)) == (150, False)


@pytest.mark.parametrize(
    ("content", "whole"), [(b"data: x\n\n", True), (b"data: x\r\n\r\n", True), (b"data: x", False), (b"data: x\n", False)]
)
def test_no_comment_stands_in_the_middle_of_an_event(content: bytes, whole: bool) -> None:
    stream = EventStream(100.0, 20.0, 500.0)
    stream.sent(content, 110.0)
    stream.sent(b"", 110.0)
    assert stream.needs_comment(130.0) is whole
    assert stream.next_deadline(130.0) == 150  # later, not at once again
    stream.sent(b"\n\n", 131.0)
    assert stream.needs_comment(151.0)
