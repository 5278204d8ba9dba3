"""What messages of the application mean, and what is left out of them."""

from typing import Any

import pytest

from shmchan.front.answers import read_answer, read_response
from shmchan.front.config import FrontConfig
from shmchan.front.counters import NAMES, Counters
from shmchan.protocol.response import BadResponse


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, {"accept": None, "frames": [], "close": None, "has_data": False}),
        ({"accept": True}, {"accept": True}),
        ({"accept": False}, {"accept": False}),
        ({"accept": None}, {"accept": None}),
        ({"text": ""}, {"frames": [""], "has_data": False}),
        ({"text": "a", "bytes": None}, {"frames": ["a"], "has_data": True}),
        ({"bytes": b""}, {"frames": [b""], "has_data": False}),
        ({"close": True}, {"close": 1000}),
        ({"close": False}, {"close": None}),
        ({"close": 0}, {"close": None}),
        ({"close": 4999, "reason": "x"}, {"close": 4999, "reason": "x"}),
        ({"close": 1012}, {"close": 1012}),
        ({"accept": False, "status": 404, "content": b"x"}, {"status": 404, "content": b"x"}),
    ],
)
def test_good_answers_have_no_problems(message: dict[str, Any], expected: dict[str, Any]) -> None:
    answer = read_answer(message)
    assert answer.problems == []
    for name, value in expected.items():
        assert getattr(answer, name) == value, name


@pytest.mark.parametrize(
    ("message", "counter", "expected"),
    [
        ({"txet": "a"}, "ignored.key", {"frames": []}),
        ({"event": "a", "text": "b"}, "ignored.key", {"frames": ["b"]}),
        ({"text": 1}, "ignored.value", {"frames": []}),
        ({"text": b"a"}, "ignored.value", {"frames": []}),
        ({"bytes": "a"}, "ignored.value", {"frames": []}),
        ({"accept": 1}, "ignored.value", {"accept": None}),
        ({"status": True}, "ignored.value", {"status": None}),
        ({"close": 1005}, "ignored.value", {"close": 1011}),
        ({"close": 1006}, "ignored.value", {"close": 1011}),
        ({"close": 5000}, "ignored.value", {"close": 1011}),
        ({"close": "yes"}, "ignored.value", {"close": 1011}),
        ({"text": "a", "bytes": b"b"}, "ignored.both", {"frames": ["a", b"b"]}),
    ],
)
def test_bad_answers_are_read_as_far_as_they_go(message: dict[str, Any], counter: str, expected: dict[str, Any]) -> None:
    answer = read_answer(message)
    assert [problem[0] for problem in answer.problems] == [counter]
    for name, value in expected.items():
        assert getattr(answer, name) == value, name


def test_the_frames_of_a_broadcast_are_made_once() -> None:
    answer = read_answer({"text": "hi", "bytes": b"\x00"})
    assert answer.prepared() == [b"\x81\x02hi", b"\x82\x01\x00"]
    assert answer.prepared() is answer.prepared()


def test_responses_are_read() -> None:
    part = read_response({"status": 200, "headers": None, "content": None, "colour": 1})
    assert (part.status, part.headers, part.content, part.more_content) == (200, (), b"", False)
    assert [problem[0] for problem in part.problems] == ["ignored.key"]
    with pytest.raises(BadResponse, match="content is bytes, this is a str"):
        read_response({"status": 200, "content": "text"})


def test_only_counters_that_exist_can_be_counted() -> None:
    counters = Counters(memoryview(bytearray(8 * len(NAMES))).cast("Q"))
    for name in NAMES:
        counters.add(name, 2)
    assert counters.snapshot() == dict.fromkeys(NAMES, 2)
    with pytest.raises(KeyError):
        counters.add("recieved")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"http_timeout": 0}, "http_timeout is 0"),
        ({"websocket_timeout": -1.0}, "websocket_timeout is -1.0"),
        ({"ping_interval": 0}, "ping_interval"),
        ({"graceful_timeout": -1}, "graceful_timeout"),
        ({"root_path": "app"}, "root_path"),
        ({"root_path": "/app/"}, "root_path"),
        ({"static": (("static", "."),)}, "static has 'static'"),
        ({"static": (("/a/../b", "."),)}, "static has '/a/../b'"),
        ({"static": (("/a", "."), ("/a", "x"))}, "each only once"),
        ({"js_path": "shmchan.js"}, "js_path is 'shmchan.js'"),
        ({"js_path": "/shmchan"}, "js_path is '/shmchan'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FrontConfig(**options)
