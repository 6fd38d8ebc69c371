"""How long a start has taken, the time left out in which the cluster was away: that is nobody's delay."""

import time


class Clock:
    """Count down from where it is wound to, as long as it is looked at while the cluster answers."""

    def __init__(self) -> None:
        self.passed = 0.0
        self._seconds = 0.0
        self._looked = 0.0

    def wind(self, seconds: float) -> None:
        """Begin to count."""
        self.passed, self._seconds, self._looked = 0.0, seconds, time.monotonic()

    def is_over(self, counts: bool) -> bool:
        """Tell whether the time is over; what went by since the last look counts only if said so."""
        now = time.monotonic()
        if counts:
            self.passed += now - self._looked
        self._looked = now
        return self.passed > self._seconds
