"""What the chat takes from a browser, and what it makes of that. The way through a server is in tests/system/test_examples.py."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmchan.examples.chat.frames import (
    MAX_LINE,
    MAX_NAME,
    BadFrame,
    BadLine,
    Here,
    Line,
    Reminder,
    checked_name,
    encode,
    parse_frame,
)


def line(text: object, ref: object = "r-1") -> str:
    return json.dumps({"type": "line", "text": text, "ref": ref})


def test_a_line_is_taken_without_control_characters_and_outer_space() -> None:
    assert parse_frame(line("  a\tb\nc\x00\x1b[1m  ")) == Line("a\tb\nc[1m", "r-1")


def test_a_line_may_be_just_so_long() -> None:
    assert parse_frame(line("x" * MAX_LINE)) == Line("x" * MAX_LINE, "r-1")
    with pytest.raises(BadLine, match="501 characters") as refusal:
        parse_frame(line("x" * (MAX_LINE + 1)))
    assert refusal.value.ref == "r-1"


def test_an_empty_line_is_refused() -> None:
    with pytest.raises(BadLine):
        parse_frame(line(" \n\x00 "))


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert parse_frame('{"type": "line", "text": "a\\ud800", "ref": "r"}') == Line("a?", "r")


@pytest.mark.parametrize(
    ("text", "seconds", "about"),
    [("/remind 10m tea", 600, "tea"), ("/remind 90 s  the eggs ", 90, "the eggs"), ("/remind 2h a\nb", 7200, "a\nb")],
)
def test_a_reminder_says_when_and_of_what(text: str, seconds: int, about: str) -> None:
    assert parse_frame(line(text)) == Reminder(seconds, about, "r-1")


@pytest.mark.parametrize(
    "text", ["/remind", "/remind tea", "/remind 10m", "/remind 0s tea", "/remind 400d tea", "/remind 5y tea"]
)
def test_a_reminder_that_says_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadLine, match="/remind 10m tea"):
        parse_frame(line(text))


def test_a_line_that_only_begins_like_a_reminder_is_a_line() -> None:
    assert parse_frame(line("/reminder 10m tea")) == Line("/reminder 10m tea", "r-1")


def test_here_is_for_everybody_or_for_one() -> None:
    assert parse_frame('{"type": "here"}') == Here(None)
    assert parse_frame('{"type": "here", "to": "0123456789abcdef"}') == Here("0123456789abcdef")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "7",
        "null",
        "{}",
        '{"type": "other"}',
        '{"type": "here", "to": "chat.room.lobby"}',
        '{"type": "here", "to": null}',
        line(7),
        line(None),
        line("x", 7),
        line("x", ""),
        line("x", "r" * 41),
        line("x", "<b>"),
        '{"type": "line", "text": "x"}',
        "[" * 100_000,
    ],
)
def test_anything_else_is_no_frame_of_the_chat(text: str) -> None:
    with pytest.raises(BadFrame):
        parse_frame(text)


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part)
    ).map(json.dumps)
)
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        frame = parse_frame(text)
    except (BadFrame, BadLine):
        return
    assert isinstance(frame, Line | Reminder | Here)


def test_names_are_short_and_printable() -> None:
    assert checked_name("  Grace Hopper ") == "Grace Hopper"
    assert checked_name("Ünï 漢字 <b>") == "Ünï 漢字 <b>"
    assert checked_name("x" * MAX_NAME) == "x" * MAX_NAME
    for name in ("", "   ", "x" * (MAX_NAME + 1), "a\x00b", "a\nb", "a\u202eb", "a\ud800"):
        assert checked_name(name) is None


def test_a_frame_goes_out_as_text_with_its_type() -> None:
    assert json.loads(encode("here", id="1", name="Ü")["text"]) == {"type": "here", "id": "1", "name": "Ü"}
