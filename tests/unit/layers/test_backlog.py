"""Backlog: order, expiry and delays, with a clock that the test winds."""

from shmchan.layers.backlog import Backlog, Entry, Rate


def entry(channel: str, key: str | None = None, now: float = 0.0, expiry: float | None = 60.0) -> Entry:
    return Entry(channel, b"payload", key, now, None if expiry is None else now + expiry)


def put(backlog: Backlog, *entries: Entry) -> None:
    for one in entries:
        backlog.put(one, one.born)


def test_queues_take_turns() -> None:
    backlog = Backlog()
    put(backlog, *(entry("busy") for _ in range(5)), entry("quiet"))
    taken = [backlog.take(["busy", "quiet"], 0.0) for _ in range(6)]
    assert "quiet" in [one.channel for one in taken[:2] if one]
    assert backlog.take(["busy", "quiet"], 0.0) is None


def test_a_lane_follows_its_head_to_another_queue_when_that_expires() -> None:
    backlog = Backlog()
    put(backlog, entry("connect", "x", expiry=1.0), entry("receive", "x", now=0.5, expiry=60.0))
    assert backlog.take(["receive"], 0.9) is None
    found = backlog.take(["receive"], 1.0)
    assert found is not None
    assert backlog.expired == 1


def test_expiry_in_the_middle_of_a_lane_and_while_it_runs() -> None:
    backlog = Backlog()
    first, second = entry("receive", "x", expiry=None), entry("receive", "x", expiry=1.0)
    put(backlog, first, second)
    assert backlog.take(["receive"], 0.0) is first
    assert backlog.take(["receive"], 2.0) is None
    backlog.finish(first)
    assert backlog.take(["receive"], 2.0) is None
    assert (backlog.used, backlog.expired) == (0, 1)


def test_what_is_put_back_with_a_delay_comes_when_it_is_due() -> None:
    backlog = Backlog()
    put(backlog, entry("job"), entry("receive", "x"), entry("receive", "x"))
    for channel in ("job", "receive"):
        taken = backlog.take([channel], 0.0)
        assert taken is not None
        backlog.put_back(taken, due=5.0, now=0.0)
        assert backlog.take([channel], 4.9) is None
    assert backlog.next_due() == 5.0
    for channel in ("job", "receive"):
        again = backlog.take([channel], 5.0)
        assert again is not None
        assert again.attempts == 1
    assert backlog.next_due() is None


def test_what_is_dropped_while_it_is_delayed_does_not_come_back() -> None:
    backlog = Backlog()
    put(backlog, entry("job"), entry("receive", "x"))
    for channel in ("job", "receive"):
        taken = backlog.take([channel], 0.0)
        assert taken is not None
        backlog.put_back(taken, due=5.0, now=0.0)
    backlog.clear()
    put(backlog, entry("receive", "x", now=1.0))
    assert backlog.take(["receive"], 1.0) is not None
    assert backlog.take(["job", "receive"], 9.0) is None


def test_queues_of_single_readers_are_forgotten_when_they_are_empty() -> None:
    backlog = Backlog()
    for number in range(100):
        put(backlog, entry(f"one?{number}", expiry=1.0))
    for number in range(50):
        taken = backlog.take([f"one?{number}"], 0.0)
        assert taken is not None
        backlog.finish(taken)
    backlog.settle_time(2.0)
    assert (backlog._queues, backlog.used) == ({}, 0)


def test_a_dropped_queue_takes_its_messages_with_it() -> None:
    backlog = Backlog()
    put(backlog, entry("reply!a"), entry("reply!b"), entry("job"))
    assert backlog.drop_queue("reply!") == 2
    assert backlog.drop_queue("reply!") == 0
    assert backlog.statistics(None, 0.0)["messages_pending"] == 1
    assert backlog.used == len(b"payload")


def test_the_rate_is_that_of_the_last_second() -> None:
    rate = Rate()
    rate.add(10, 5.0)
    assert rate.per_second(5.5) == 10
    assert rate.per_second(6.0) == 10
    assert rate.per_second(6.75) == 2.5
    assert rate.per_second(7.0) == 0
    assert rate.total == 10
