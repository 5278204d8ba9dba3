"""The tables of an exchange and of a session: every state and every event."""

import itertools

import pytest

from shmchan.front import request, session


@pytest.mark.parametrize(
    ("table", "kind"),
    [(request.TRANSITIONS, request.HTTPExchange), (session.TRANSITIONS, session.WebSocketSession)],
    ids=["exchange", "session"],
)
def test_every_state_and_event_is_in_the_table_or_raises(
    table: dict[tuple[str, str], str], kind: type[request.HTTPExchange] | type[session.WebSocketSession]
) -> None:
    states = {state for state, _ in table} | set(table.values())
    events = {event for _, event in table}
    for state, event in itertools.product(sorted(states), sorted(events)):
        thing = object.__new__(kind)
        thing._state = state
        if (state, event) in table:
            thing._move(event)
            assert thing._state == table[state, event]
        else:
            with pytest.raises(RuntimeError, match="cannot happen"):
                thing._move(event)
            assert thing._state == state


def test_both_come_to_an_end() -> None:
    for table, end in ((request.TRANSITIONS, request.DONE), (session.TRANSITIONS, session.OVER)):
        assert not [state for state, _ in table if state is end]
        for state in {state for state, _ in table}:
            seen = {state}
            for _ in table:
                seen |= {after for (before, _), after in table.items() if before in seen}
            assert end in seen, state
