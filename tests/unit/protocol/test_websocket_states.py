"""The table of states: every pair of state and input, in the table and on real connections."""

from collections.abc import Callable

import pytest

from shmchan.protocol.websocket import TRANSITIONS, Closed, Input, State, WebSocketConnection

from .reference import client_frame

NOW = 1000.0


def to_open() -> WebSocketConnection:
    return WebSocketConnection(now=NOW, ping_interval=20.0, ping_timeout=30.0, close_timeout=10.0)


def to_closing() -> WebSocketConnection:
    connection = to_open()
    connection.close(1001, now=NOW)
    return connection


def to_failing() -> WebSocketConnection:
    connection = to_open()
    connection.receive_data(client_frame(1, b"\xff"), NOW)
    return connection


def to_finished() -> WebSocketConnection:
    connection = to_open()
    connection.receive_eof(NOW)
    return connection


def give_up(connection: WebSocketConnection) -> None:
    """Let every deadline pass, twice: a ping, and what it awaits."""
    for _ in range(2):
        deadline = connection.next_deadline()
        if deadline is not None:
            connection.handle_timeout(deadline)


REACH: dict[State, Callable[[], WebSocketConnection]] = {
    State.OPEN: to_open,
    State.CLOSING: to_closing,
    State.FAILING: to_failing,
    State.FINISHED: to_finished,
}
CAUSE: dict[Input, Callable[[WebSocketConnection], None]] = {
    Input.LOCAL_CLOSE: lambda connection: connection.close(1000, now=NOW),
    Input.PEER_CLOSE: lambda connection: connection.receive_data(client_frame(8, b"\x03\xe8"), NOW),
    Input.BROKEN_RULE: lambda connection: connection.receive_data(client_frame(3, b""), NOW),
    Input.EOF: lambda connection: connection.receive_eof(NOW),
    Input.PING_LOST: give_up,
    Input.CLOSE_LOST: give_up,
}
# What stands for both: in a state that is no row of the table, time brings about the other one.
SAME_CAUSE = {Input.PING_LOST: Input.CLOSE_LOST, Input.CLOSE_LOST: Input.PING_LOST}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("what", Input)
def test_every_state_meets_every_input_as_the_table_says(state: State, what: Input) -> None:
    connection = REACH[state]()
    assert connection.state is state
    CAUSE[what](connection)
    expected = TRANSITIONS.get((state, what))
    if expected is None and what in SAME_CAUSE:
        expected = TRANSITIONS.get((state, SAME_CAUSE[what]))
    # A pair that is missing is none that happens: the state stays.
    assert connection.state is (expected or state)
    closed = [event for event in connection.events() if isinstance(event, Closed)]
    assert len(closed) == (1 if connection.state is State.FINISHED else 0)
    assert connection.finished == (connection.state is State.FINISHED)


def test_the_table_reaches_every_state_and_leaves_all_but_the_last() -> None:
    assert {after for _, after in TRANSITIONS.items()} | {State.OPEN} == set(State)
    assert {before for before, _ in TRANSITIONS} == set(State) - {State.FINISHED}
    assert all(TRANSITIONS[state, Input.EOF] is State.FINISHED for state in State if state is not State.FINISHED)


def test_a_pair_that_is_missing_raises() -> None:
    connection = to_finished()
    with pytest.raises(KeyError):
        connection._move(Input.EOF, NOW)
