"""How long a dead child waits."""

from shmchan.supervisor.backoff import LONGEST_DELAY, STEADY_AFTER, Backoff


def test_a_single_death_costs_no_wait() -> None:
    assert Backoff().delay(lived=0.01) == 0.0


def test_dying_young_again_and_again_doubles_the_wait_up_to_a_limit() -> None:
    backoff = Backoff()
    delays = [backoff.delay(lived=0.01) for _ in range(40)]
    assert delays[:5] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY


def test_a_steady_life_wipes_out_what_was_before() -> None:
    backoff = Backoff()
    for _ in range(8):
        backoff.delay(lived=0.01)
    assert backoff.delay(lived=STEADY_AFTER) == 0.0
    assert backoff.delay(lived=0.01) == 0.1
