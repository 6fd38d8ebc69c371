"""Uses of a machine's code against the rules, a fault of ours or a theft: refused, and staff is told."""

from enum import Enum

NO_MACHINE = "There is no such machine."
# How many alarms one machine can raise: whoever knows its code must not fill the trail with it.
MOST_ALARMS = 20


class Misuse(str, Enum):
    """How a code, or what came of it, was used against the rules; the audit trail's reasons."""

    WRONG_CODE = "wrong_code"
    REPLAYED = "code_replayed"
    FOREIGN_ADDRESS = "foreign_address"
    LATE = "code_late"


WORDS = {
    Misuse.WRONG_CODE: NO_MACHINE,
    Misuse.REPLAYED: "The code was used before. Start the session again.",
    Misuse.FOREIGN_ADDRESS: "This is not the address of the session's machine.",
    Misuse.LATE: "The code is too old. Start the session again.",
}


class MisuseError(Exception):
    """Refuse a call that staff should know of; `fresh` is false once the same was told already.

    Never shown to a person, so not of the tree of errors: it becomes an alarm, and an AccessError.
    """

    def __init__(self, misuse: Misuse, *, fresh: bool) -> None:
        super().__init__(WORDS[misuse])
        self.misuse, self.fresh = misuse, fresh


class Alarms:
    """What was told already of one machine."""

    def __init__(self) -> None:
        self._told: set[tuple[Misuse, str]] = set()

    def misuse(self, misuse: Misuse, address: str) -> MisuseError:
        """Return the refusal of a use from an address."""
        fresh = (misuse, address) not in self._told and len(self._told) < MOST_ALARMS
        if fresh:
            self._told.add((misuse, address))
        return MisuseError(misuse, fresh=fresh)
