"""A cloud for the tests of the bank, whose machines come up when a test says so, and fail as it says.

It exists because no real cloud can be made to lose an answer, or a hub be killed, between two given steps.
"""

from collections import Counter
from collections.abc import Mapping

from jupyterhub_daas.errors import BackendError, BackendUnavailableError
from jupyterhub_daas.spawners.bank import Condition


class FakeCloud:
    """Machines by their ids, as `Cloud` of the bank wants them."""

    def __init__(self) -> None:
        self.image = "sha256:1"
        self.there: dict[str, Condition] = {}
        self.images: dict[str, str] = {}
        self.made: Counter[str] = Counter()
        self.away = False
        # So many makes are refused, as by a quota.
        self.refuses = 0

    async def image_of(self, profile: str) -> str:
        """Return the image of all profiles."""
        self._check()
        return self.image

    async def machines(self) -> Mapping[str, Condition]:
        """Return what is there."""
        self._check()
        return dict(self.there)

    async def make(self, machine_id: str, profile: str, image: str) -> None:
        """Make a machine."""
        self._check()
        if machine_id in self.there:
            return
        if self.refuses > 0:
            self.refuses -= 1
            raise BackendError("The cloud's quota is used up.")
        self.made[machine_id] += 1
        self.there[machine_id], self.images[machine_id] = Condition.COMING, image

    async def remove(self, machine_id: str) -> None:
        """Remove a machine."""
        self._check()
        self.there.pop(machine_id, None)

    def _check(self) -> None:
        if self.away:
            raise BackendUnavailableError("The cloud does not answer.")

    # --- what happens to machines

    def boot_for_test(self) -> None:
        """Have all that are coming be up."""
        for each, condition in self.there.items():
            if condition is Condition.COMING:
                self.there[each] = Condition.UP
