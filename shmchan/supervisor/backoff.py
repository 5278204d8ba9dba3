"""
How long a dead child waits before it is started again.

Owns one child's history of deaths. Never sleeps and never looks at a clock: callers pass ``now``. Runs in the supervisor.
"""

FIRST_DELAY = 0.1
"""Seconds before the second start in a row; each further one doubles it."""

LONGEST_DELAY = 5.0
"""Seconds; a worker whose code is broken is tried this often until somebody mends it."""

STEADY_AFTER = 10.0
"""Seconds of life after which earlier deaths are forgotten."""


class Backoff:
    """The delays of one child: none after a single death, then doubling while it dies young."""

    def __init__(self) -> None:
        self.deaths_in_a_row = 0

    def delay(self, lived: float) -> float:
        """
        Count a death and say how many seconds to wait before the next start.

        Args:
            lived: seconds between the child's start and its death.
        """
        if lived >= STEADY_AFTER:
            self.deaths_in_a_row = 0
        self.deaths_in_a_row += 1
        if self.deaths_in_a_row == 1:
            return 0.0
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.deaths_in_a_row - 2, 16))
