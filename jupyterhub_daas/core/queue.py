"""The order in which starts that wait on a full backend get their turn.

Rounds go over the people: in each round everybody who waits has one start, and within a round the proposals
take turns, so that neither a person with many starts nor a proposal with many people keeps the others
waiting. Whoever comes joins behind the round that has begun. Hence nobody is passed over without end: while
one start waits, any other person has at most two turns before its own round is over.

What does not fit keeps back whatever asks for the same short thing, and nothing else: a start that waits for
a GPU does not hold up those that need none.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from jupyterhub_daas.core.resources import DIMENSIONS, Limits, Resources

Short = Callable[["Waiter"], frozenset[str]]


@dataclass(frozen=True)
class Waiter:
    """One start that waits; `resources` are those of its flavour."""

    session_id: str
    person: str
    proposal: str
    flavour: str
    resources: Resources


@dataclass(frozen=True)
class _Turn:
    waiter: Waiter
    round: int
    lap: int
    number: int

    @property
    def key(self) -> tuple[int, int, int]:
        return self.round, self.lap, self.number


@dataclass
class Line:
    """The starts that wait on one backend, in the order of their arrival, and whose turn was last."""

    _waiting: dict[str, tuple[Waiter, int]] = field(default_factory=dict)
    _round: int = 0
    _served: dict[str, int] = field(default_factory=dict)
    _laps: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, waiter: Waiter) -> None:
        """Add a start at the end of its person's own."""
        self._waiting.setdefault(waiter.session_id, (waiter, self._round + 1))

    def leave(self, session_id: str) -> None:
        """Take out a start that is not wanted any more; the person's later ones move up."""
        self._waiting.pop(session_id, None)
        self._forget_if_empty()

    def serve(self, session_id: str) -> None:
        """Take out a start whose turn has come."""
        turn = next(each for each in self._turns() if each.waiter.session_id == session_id)
        if turn.round > self._round:
            self._round, self._laps = turn.round, {}
        self._served[turn.waiter.person] = turn.round
        self._laps[turn.waiter.proposal] = self._laps.get(turn.waiter.proposal, 0) + 1
        del self._waiting[session_id]
        self._forget_if_empty()

    def order(self) -> tuple[Waiter, ...]:
        """Return all that wait, the next one first."""
        return tuple(turn.waiter for turn in sorted(self._turns(), key=lambda turn: turn.key))

    def _turns(self) -> Iterable[_Turn]:
        last = dict(self._served)
        laps = {(self._round, proposal): count for proposal, count in self._laps.items()}
        for number, (waiter, first) in enumerate(self._waiting.values()):
            turn = last[waiter.person] = max(first, last.get(waiter.person, 0) + 1)
            place = (turn, waiter.proposal)
            lap = laps[place] = laps.get(place, 0) + 1
            yield _Turn(waiter, turn, lap, number)

    def _forget_if_empty(self) -> None:
        if not self._waiting:
            self._round, self._served, self._laps = 0, {}, {}


def next_to_start(order: Iterable[Waiter], short: Short) -> Waiter | None:
    """Return the first that may start; `short` says of which dimensions a waiter lacks something now."""
    kept_back: set[str] = set()
    for waiter in order:
        lacking = short(waiter)
        if not lacking and not any(getattr(waiter.resources, each) for each in kept_back):
            return waiter
        kept_back |= lacking
    return None


def lacking(asked: Resources, used: Resources, capacity: Limits) -> frozenset[str]:
    """Return the dimensions in which `asked` does not fit beside what is used."""
    wanted = used + asked
    return frozenset(
        name
        for name in DIMENSIONS
        if (bound := capacity.of(name)) is not None and getattr(asked, name) and getattr(wanted, name) > bound
    )


def sessions_that_fit(asked: Resources, used: Resources, capacity: Limits) -> int | None:
    """Return how many sessions of a size fit beside what is used; None if nothing bounds them."""
    fitting = [
        max(0, int((bound - getattr(used, name)) / getattr(asked, name) + 1e-9))
        for name in DIMENSIONS
        if (bound := capacity.of(name)) is not None and getattr(asked, name)
    ]
    return min(fitting, default=None)
