"""The delay process, step by step: what goes out when, what is bad, what is full, and clocks that are set."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmchan.delay import service as module
from shmchan.delay.heap import STEADY, WALL, Heap
from shmchan.delay.service import Service
from shmchan.exceptions import HeapBlocked
from shmchan.layers.delay_port import Outcome

from .harness import SECOND, START, Delay, FakeSource


@pytest.fixture
def delay() -> Iterator[Delay]:
    with Delay() as one:
        yield one


# --- when


def test_a_message_goes_out_when_its_delay_is_over_and_not_before(delay: Delay) -> None:
    delay.send({"n": 1}, delay=1500)
    assert delay.came() == []
    assert delay.after(1.499) == []
    assert delay.after(0.001) == [{"n": 1}]
    assert delay.after(1000) == []


def test_messages_go_out_in_the_order_in_which_they_are_due(delay: Delay) -> None:
    for n, wait in enumerate((300, 100, 200, 100)):
        delay.send({"n": n}, delay=wait)
    assert [message["n"] for message in delay.came() + delay.after(1)] == [1, 3, 2, 0]


def test_more_than_a_batch_goes_out_in_order() -> None:
    with Delay(capacity=1000) as delay:
        for n in range(300):
            delay.send({"n": n}, delay=n / 10)
        assert [message["n"] for message in delay.came() + delay.after(1)] == list(range(300))


def test_a_time_in_the_past_is_now(delay: Delay) -> None:
    delay.send({"n": 1}, at=START // SECOND - 86400)
    delay.send({"n": 2}, at=0)
    delay.send({"n": 3}, delay=0)
    assert sorted(message["n"] for message in delay.came()) == [1, 2, 3]


def test_a_period_goes_on_from_when_it_was_due(delay: Delay) -> None:
    delay.send({"n": 1}, every=10)
    delay.came()
    assert delay.after(9.9) == []
    assert delay.after(0.4) == [{"n": 1}]  # late by 0.3
    assert delay.after(9.6) == []
    assert delay.after(0.1) == [{"n": 1}]


def test_runs_that_were_missed_are_one(delay: Delay) -> None:
    delay.send({"n": 1}, every=10)
    delay.came()
    assert delay.after(95) == [{"n": 1}]
    assert delay.after(4.9) == []
    assert delay.after(0.1) == [{"n": 1}]


def test_a_period_may_begin_at_a_time_of_its_own(delay: Delay) -> None:
    delay.send({"n": 1}, every=10, delay=1000)
    delay.send({"n": 2}, every=10, at=START / SECOND + 5)
    delay.came()
    assert delay.after(1) == [{"n": 1}]
    assert delay.after(4) == [{"n": 2}]
    assert delay.after(6) == [{"n": 1}]
    assert delay.after(4) == [{"n": 2}]


def test_a_cron_expression_is_told_by_the_wall(delay: Delay, monkeypatch: pytest.MonkeyPatch) -> None:
    delay.send({"n": 1}, every="*/10 * * * *")
    delay.came()
    left = 600 - START // SECOND % 600
    assert delay.after(left - 1) == []
    assert delay.after(1) == [{"n": 1}]
    assert delay.after(599) == []
    assert delay.after(1) == [{"n": 1}]


def test_it_sleeps_until_the_first_one_is_due(delay: Delay) -> None:
    delay.send({"n": 1}, delay=5000)
    delay.send({"n": 2}, at=START / SECOND + 3)
    delay.came()
    delay.service.wait()
    assert delay.came() == [{"n": 2}]
    delay.service.wait()
    assert delay.came() == [{"n": 1}]
    delay.service.wait()
    (first, steady), *rest = delay.source.waits
    assert first == START + 3 * SECOND
    assert steady is not None
    assert 1004 * SECOND < steady <= 1005 * SECOND  # it counts from its sending, some microseconds before it was taken in
    assert rest == [(None, steady), (None, None)]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_sent_replaced_and_cancelled_each_goes_out_when_it_is_due_and_once(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shmchan.delay.heap.SORTED_AT_ONCE", 3)
    chance = random.Random(seed)
    expected: dict[str, tuple[int, int]] = {}
    with Delay(tmp_path / "delay.db", capacity=10_000) as delay:
        now = 0
        for n in range(300):
            ident = f"id{chance.randrange(60)}"
            wait = chance.choice([1, 5, 15, 17, 33, 100, 1000]) + chance.randrange(3)
            if chance.random() < 0.15:
                assert ask(delay, request="cancel", id=ident)["done"] == (ident in expected)
                expected.pop(ident, None)
            elif chance.random() < 0.1:
                limit = chance.choice([0, 2, 20, 200])
                due = sorted((due, number) for due, number in expected.values() if due <= now + limit)
                came = [message["n"] for message in delay.after(limit)]
                now += limit
                assert sorted(came) == sorted(number for _, number in due)
                expected = {name: (due, number) for name, (due, number) in expected.items() if due > now}
            else:
                when: dict[str, Any] = {"delay": wait * 1000} if chance.random() < 0.5 else {"at": START // SECOND + now + wait}
                delay.send({"n": n}, id=ident, **when)
                delay.service.take_in()
                expected[ident] = (now + wait, n)
            if chance.random() < 0.05:  # another process takes its place
                delay.close()
                delay.open()
        assert {row.id for row in delay.heap.page(None, 0, 1000)} == set(expected)
        assert len(delay.after(2000)) == len(expected)
        assert delay.heap.next_due(STEADY) is None
        assert delay.heap.next_due(WALL) is None


# --- clocks that are set


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_clock_that_is_set_changes_no_delay(delay: Delay, jump: float) -> None:
    delay.send({"n": 1}, delay=60_000)
    delay.send({"n": 2}, every=60)
    delay.came()
    delay.source.set_wall(jump)
    assert delay.came() == []
    assert delay.after(59.9) == []
    assert delay.after(0.1) == [{"n": 1}, {"n": 2}]


def test_a_clock_that_is_set_forwards_makes_due_what_waits_for_a_time(delay: Delay, caplog: pytest.LogCaptureFixture) -> None:
    delay.send({"n": 1}, at=START / SECOND + 3600)
    delay.came()
    delay.source.set_wall(3600)
    assert delay.came() == [{"n": 1}]
    assert "set forwards by 3600.0 s" in caplog.text


def test_a_clock_that_is_set_backwards_is_waited_for(delay: Delay) -> None:
    delay.send({"n": 1}, at=START / SECOND + 10)
    delay.came()
    delay.source.set_wall(-100)
    assert delay.after(10) == []
    assert delay.after(99) == []
    assert delay.after(1) == [{"n": 1}]


def test_suspended_time_counts(delay: Delay) -> None:
    delay.send({"n": 1}, delay=3600_000)
    delay.send({"n": 2}, at=START / SECOND + 3600)
    delay.came()
    assert len(delay.after(8 * 3600)) == 2


def test_after_a_restart_of_the_machine_the_wall_says_how_long_it_was_off(tmp_path: Path) -> None:
    path = tmp_path / "delay.db"
    with Delay(path) as before:
        before.send({"n": 1}, delay=3600_000)
        before.came()
        before.source.set_wall(-500)  # the clock was wrong, and was set right
        before.came()
    source = FakeSource(wall=START + (-500 + 1800) * SECOND, boot=5 * SECOND, name="second")
    with Delay(path, source) as after:
        assert after.after(1799.9) == []
        assert after.after(0.1) == [{"n": 1}]


# --- what is asked


def ask(delay: Delay, **question: Any) -> dict[str, Any]:
    delay.layer.send("asgi.delay", {**question, "reply_channel": "answer?x", "token": 7})
    delay.service.step()
    answer = delay.layer.receive(["answer?x"])[1]
    assert answer is not None
    assert answer.pop("token") == 7
    return answer


def test_an_id_that_exists_is_replaced(delay: Delay) -> None:
    delay.send({"n": 1}, delay=1000, id="x")
    delay.send({"n": 2}, channel="b", at=START / SECOND + 5, id="x")
    assert delay.after(2) == []
    assert delay.after(3, "b") == [{"n": 2}]
    assert delay.heap.statistics()["pending"] == 0


def test_what_is_cancelled_does_not_go_out(delay: Delay) -> None:
    delay.send({"n": 1}, delay=1000, id="x")
    assert ask(delay, request="cancel", id="x") == {"done": True}
    assert ask(delay, request="cancel", id="x") == {"done": False}
    assert delay.after(2) == []


def test_what_came_without_an_id_has_a_number(delay: Delay) -> None:
    delay.send({"n": 1}, delay=1000)
    [row] = ask(delay, request="pending")["rows"]
    assert row[1:4] == ["#1", "a", {"n": 1}]
    assert ask(delay, request="cancel", id="#1") == {"done": True}


def test_a_request_that_comes_again_after_a_death_has_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with Delay() as delay:
        monkeypatch.setattr(delay.port, "acknowledge", lambda taken: None)  # it dies before
        delay.send({"n": 1}, delay=1000, id="x")
        delay.layer.send("asgi.delay", {"request": "cancel", "id": "x", "reply_channel": "answer?x", "token": 3})
        taken = delay.port.take(10)
        delay.service._hand = taken
        delay.service.take_in()
        assert delay.layer.receive(["answer?x"])[1] == {"done": True, "token": 3}
        delay.service._hand = taken
        delay.service.take_in()
        assert delay.layer.receive(["answer?x"])[1] == {"done": True, "token": 3}
        assert delay.heap.statistics()["cancelled"] == 1


def test_pages_end(delay: Delay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_BYTES", 1000)
    for n in range(20):
        delay.send({"n": n, "text": "x" * 200}, delay=1000)
    seen: list[int] = []
    after, more = 0, True
    while more:
        answer = ask(delay, request="pending", after=after)
        seen += [row[3]["n"] for row in answer["rows"]]
        after, more = answer["rows"][-1][0], answer["more"]
    assert seen == list(range(20))


# --- bad messages


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": {}, "delay": 1}, "no channel"),
        ({"channel": "a b", "content": {}, "delay": 1}, "a channel name is"),
        ({"channel": 5, "content": {}, "delay": 1}, "its channel is the name of a channel, a str; this is 5 (int)"),
        ({"channel": "a", "delay": 1}, "no content"),
        ({"channel": "a", "content": [1], "delay": 1}, "no dict"),
        ({"channel": "a", "content": "x", "delay": 1}, "no dict"),
        ({"channel": "a", "content": {}}, "no time"),
        ({"channel": "a", "content": {}, "delay": -1}, "delay is"),
        ({"channel": "a", "content": {}, "delay": 1e30}, "delay is"),
        ({"channel": "a", "content": {}, "delay": 1 << 62}, "delay is"),
        ({"channel": "a", "content": {}, "delay": float("nan")}, "delay is"),
        ({"channel": "a", "content": {}, "delay": "soon"}, "its delay is a number of milliseconds; this is 'soon' (str)"),
        ({"channel": "a", "content": {}, "delay": True}, "its delay is a number of milliseconds; this is True (bool)"),
        ({"channel": "a", "content": {}, "at": b"1"}, "its at is a number of seconds since 1970; this is b'1' (bytes)"),
        ({"channel": "a", "content": {}, "every": [1]}, "its every is a number of seconds, or a cron expression; this is [1]"),
        ({"channel": "a", "content": {}, "delay": 1, "at": 1}, "two times"),
        ({"channel": "a", "content": {}, "at": float("inf")}, "at is"),
        ({"channel": "a", "content": {}, "every": 0}, "every is"),
        ({"channel": "a", "content": {}, "every": "every day"}, "no cron expression"),
        ({"channel": "a", "content": {}, "every": "0 0 31 2,4 *"}, "no cron expression"),
        ({"channel": "a", "content": {}, "every": "0 0 * * *", "delay": 5}, "by itself"),
        ({"channel": "a", "content": {}, "delay": 1, "id": ""}, "an id has"),
        ({"channel": "a", "content": {}, "delay": 1, "id": 7}, "its id is a str; this is 7"),
        ({"request": "explode"}, "request is one of"),
        ({"request": 1}, "its request is one of cancel, pending, purge, stats; this is 1"),
        ({"request": "stats", "token": None}, "its token is an int; this is None"),
        ({"request": "cancel"}, "names an id"),
        ({"request": "pending", "after": -1}, "number of a message"),
        ({"request": "pending", "after": (1 << 63) - 1, "reply_channel": "no such name"}, "a channel name is"),
    ],
)
def test_a_bad_message_is_logged_once_counted_and_dropped(
    delay: Delay, message: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    delay.layer.send("asgi.delay", message)
    delay.send({"n": "next"}, delay=0)
    assert delay.came() == [{"n": "next"}]
    [line] = [record.getMessage() for record in caplog.records if record.name == "shmchan.delay"]
    assert reason in line
    assert isinstance(message.get("channel"), str) == (f"a message for {message.get('channel')!r} on asgi.delay" in line)
    assert "$" not in line, "the words of the library that decodes it are nobody's here"
    assert delay.heap.statistics()["bad"] == 1
    assert delay.layer.dropped["bad"] == 1


# --- full targets


def test_a_full_target_is_tried_again_later_and_later(delay: Delay) -> None:
    for n in range(100):
        delay.layer.send("a", {"n": n})
    delay.send({"n": "late"}, delay=0)
    delay.send({"n": "other"}, channel="b", delay=0)
    delay.service.step()
    delay.service.step()
    assert delay.came("b") == [{"n": "other"}]
    tried = []
    for second in range(1, 40):
        before = delay.heap.statistics()["retried"]
        delay.after(1, "b")
        if delay.heap.statistics()["retried"] > before:
            tried.append(second)
    assert tried == [1, 3, 7, 15, 31]
    assert delay.came()[-1] == {"n": 99}
    assert delay.after(60) == [{"n": "late"}]


def test_a_target_that_stays_full_makes_a_dead_letter(delay: Delay, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(100):
        delay.layer.send("a", {"n": n})
    delay.send({"n": "late"}, delay=0, id="x")
    delay.send({"n": "often"}, every=60, id="y")
    letters: list[dict[str, Any]] = []
    for _ in range(80):
        letters += delay.after(60, "shmchan.dead")
    late = next(letter for letter in letters if letter["content"] == {"n": "late"})
    assert (late["channel"], late["cause"]) == ("a", "full")
    assert late["attempts"] > 50
    assert delay.heap.statistics()["dead_lettered"] == 2
    assert [row.id for row in delay.heap.page(None, 0, 10)] == ["y"]  # what repeats goes on
    assert "a was full for 3600 s" in caplog.text


# --- deaths and disks


def test_what_the_segment_has_noted_is_not_sent_again(tmp_path: Path) -> None:
    with Delay(tmp_path / "delay.db") as delay:
        for n in range(4):
            when: dict[str, Any] = {"delay": 0, "every": 5} if n == 1 else {"delay": 0}
            delay.send({"n": n}, **when)
        delay.service.take_in()
        delay.heap.sort(*delay.service.clocks.now())
        rows = delay.heap.open_batch(77, *delay.service.clocks.now())
        for bit in (0, 1, 3):  # and then it dies
            assert delay.port.put(77, bit, rows[bit].channel, rows[bit].content) is Outcome.DONE
        delay.heap.close()
        delay.service.close()
        delay.heap = Heap(delay.path)
        delay.service = Service(delay.heap, delay.port, delay.source)
        delay.service.start()
        assert sorted(message["n"] for message in delay.came()) == [0, 1, 2, 3]
        assert [row.content for row in delay.heap.page(None, 0, 10)] == [rows[1].content]


def test_a_batch_of_another_segment_is_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "delay.db"
    with Delay(path) as before:
        before.send({"n": 1}, delay=0)
        before.service.take_in()
        before.heap.sort(*before.service.clocks.now())
        before.heap.open_batch(77, *before.service.clocks.now())
        before.port.put(77, 0, "a", before.heap.page(None, 0, 1)[0].content)
    with Delay(path) as after:
        assert after.came() == [{"n": 1}]


def test_while_the_disk_is_full_everything_stays_in_hand(
    delay: Delay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shmchan.delay")
    delay.send({"n": 1}, delay=0)

    def full(*rows: object) -> None:
        raise HeapBlocked("delay.db", "its disk is full", "make room")

    with monkeypatch.context() as patch:
        patch.setattr(delay.heap, "insert", full)
        for _ in range(3):
            with pytest.raises(HeapBlocked):
                delay.service.step()
        delay.send({"n": 2}, delay=0)
    assert sorted(message["n"] for message in delay.came()) == [1, 2]
    assert delay.heap.statistics()["accepted"] == 2


def test_a_batch_that_could_not_be_settled_is_settled_before_the_next(delay: Delay, monkeypatch: pytest.MonkeyPatch) -> None:
    delay.send({"n": 1}, delay=0)
    settle = delay.heap.settle

    def full(*given: object) -> None:
        raise HeapBlocked("delay.db", "its disk is full", "make room")

    monkeypatch.setattr(delay.heap, "settle", full)
    with pytest.raises(HeapBlocked):
        delay.service.step()
    monkeypatch.setattr(delay.heap, "settle", settle)
    assert delay.came() == [{"n": 1}]
    assert delay.came() == []


def test_it_runs_on_through_a_full_disk_and_says_so_once(
    delay: Delay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shmchan.delay")
    step, tries = delay.service.step, iter(range(100))

    def sometimes() -> bool:
        number = next(tries)
        if number < 3:
            raise HeapBlocked("delay.db", "its disk is full", "make room")
        if number > 4:
            delay.service.stop()
        return step()

    monkeypatch.setattr(delay.service, "step", sometimes)
    delay.send({"n": 1}, delay=0)
    delay.service.run()
    assert delay.layer.receive(["a"])[1] == {"n": 1}
    said = [record.getMessage() for record in caplog.records]
    assert sum("its disk is full" in line for line in said) == 1
    assert said[-1] == "delayed messages are stored again"


def test_what_stops_takes_in_and_sends_no_more(delay: Delay) -> None:
    delay.send({"n": 1}, delay=0)
    delay.service.stop()
    delay.service.run()
    assert delay.layer.receive(["a"]) == (None, None)
    assert delay.heap.next_due(STEADY) is not None
    assert delay.heap.next_due(WALL) is None
