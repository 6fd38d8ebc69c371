"""The bank: machines that were booted before anybody asked for one, without a person and without data.

Each is given to one session and deleted after it. What is kept ready follows from the rule of a profile, and
is decided from what there is: nothing is remembered but the machines.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import SessionId, Slug

MachineId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
# What a machine was made of: the image's digest, or whatever tells one version of it from the next.
ImageDigest = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
Number = Annotated[int, Field(ge=0, le=1000)]
Minutes = Annotated[float, Field(gt=0, le=60 * 24 * 366)]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"there is no time zone {name!r}")
    return name


class Window(Model):
    """When another number of machines is kept ready: office hours by days and hours, a beamtime by dates.

    `begins` belongs to it, `ends` does not; one whose `ends` is not later goes over midnight. `first` and
    `last` are days that both belong to it.
    """

    idle: Number
    days: Annotated[tuple[str, ...], Field(min_length=1, max_length=7)] = DAYS
    begins: time = time(0, 0)
    ends: time = time(0, 0)
    first: date | None = None
    last: date | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        unknown = set(self.days) - set(DAYS)
        if unknown:
            raise ValueError(f"there is no day {sorted(unknown)[0]!r}: use {', '.join(DAYS)}")
        if self.begins.tzinfo is not None or self.ends.tzinfo is not None:
            raise ValueError("hours are those of the rule's time zone: leave theirs out")
        if self.first and self.last and self.first > self.last:
            raise ValueError("'first' is after 'last'")
        return self

    def holds(self, local: datetime) -> bool:
        """Tell whether a moment, in local time, lies in it."""
        day, hour = local.date(), local.time()
        if self.begins < self.ends:
            return self._has_day(day) and self.begins <= hour < self.ends
        # Over midnight: what comes before `ends` belongs to the day before.
        early = hour < self.ends and self._has_day(day - timedelta(days=1))
        return early or (hour >= self.begins and self._has_day(day))

    def _has_day(self, day: date) -> bool:
        if (self.first and day < self.first) or (self.last and day > self.last):
            return False
        return DAYS[day.weekday()] in self.days


class BankRule(Model):
    """How many machines of a profile are kept ready, and at which cost.

    `idle` is the number outside of all windows; of windows that hold at the same time the largest counts.
    There are never more than `most` in the bank, and never more than `per_minute` new ones in a minute. One
    that is not up after `build_minutes`, is older than `age_minutes` or waits longer than `idle_minutes` is
    replaced.
    """

    idle: Number = 0
    windows: tuple[Window, ...] = ()
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    most: Number = 20
    per_minute: Annotated[int, Field(ge=1, le=1000)] = 6
    build_minutes: Minutes = 15
    age_minutes: Minutes = 60 * 24
    idle_minutes: Minutes = 60 * 12

    @model_validator(mode="after")
    def _has_room_for_what_it_wants(self) -> Self:
        largest = max([self.idle, *(each.idle for each in self.windows)])
        if largest > self.most:
            raise ValueError(f"'most' is {self.most}, and {largest} are to be idle")
        return self

    def wanted(self, now: datetime) -> int:
        """Return how many machines are to be idle now."""
        local = now.astimezone(ZoneInfo(self.timezone))
        inside = [each.idle for each in self.windows if each.holds(local)]
        return max(inside, default=self.idle)


class MachineState(str, Enum):
    """Where a machine of the bank is in its life; it only goes forward."""

    BUILDING = "building"
    IDLE = "idle"
    CLAIMED = "claimed"
    ENDING = "ending"


class Banked(Model):
    """One machine of the bank. `image` is what it was made of, `session_id` whose it is."""

    machine_id: MachineId
    profile: Slug
    image: ImageDigest
    state: MachineState = MachineState.BUILDING
    made_at: Moment
    idle_at: Moment | None = None
    claimed_at: Moment | None = None
    session_id: SessionId | None = None


class BankedList(Model):
    """Machines of a hub."""

    items: tuple[Banked, ...]


class BankPlace(Model):
    """Of which machines is spoken: a hub's, of a profile, made of the image that it has now."""

    hub: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    profile: Slug
    image: ImageDigest


class ClaimRequest(Model):
    """Which session wants a machine."""

    place: BankPlace
    session_id: SessionId


class Claim(Model):
    """The machine that a session got, if there was one; `fresh` unless it had it already."""

    machine: Banked | None
    fresh: bool = False


class MachineChange(Model):
    """What a hub says of a machine: it is up, or has to end."""

    state: Literal[MachineState.IDLE, MachineState.ENDING]


class Tended(Model):
    """What has to be done: these end, and these are to be made."""

    ended: tuple[MachineId, ...]
    made: tuple[Banked, ...]


def is_good(machine: Banked, rule: BankRule, image: str, now: datetime) -> bool:
    """Tell whether a machine may be given to somebody, now or once it is up."""
    if machine.image != image or now - machine.made_at > timedelta(minutes=rule.age_minutes):
        return False
    if machine.state is MachineState.BUILDING:
        return now - machine.made_at <= timedelta(minutes=rule.build_minutes)
    waiting_since = machine.idle_at or machine.made_at
    return machine.state is MachineState.IDLE and now - waiting_since <= timedelta(minutes=rule.idle_minutes)


class Plan(Model):
    """What is to happen to a profile's machines: which end, and how many are made."""

    end: tuple[MachineId, ...] = ()
    make: int = 0


def decide_bank(rule: BankRule, image: str, machines: Sequence[Banked], now: datetime) -> Plan:
    """Return what brings a profile's machines, all that there are, to what its rule says.

    What is claimed counts for the rate only. What ends still costs, until it is gone.
    """
    in_bank = [each for each in machines if each.state is not MachineState.CLAIMED]
    unclaimed = [each for each in in_bank if each.state is not MachineState.ENDING]
    good = [each for each in unclaimed if is_good(each, rule, image, now)]
    wanted = rule.wanted(now)
    # Those that are up are kept before those that are not, and the newest of them: they last the longest.
    ranked = sorted(good, key=lambda each: (each.state is MachineState.IDLE, each.made_at), reverse=True)
    kept = ranked[:wanted]
    ends = [each.machine_id for each in unclaimed if each not in kept]
    recent = sum(now - each.made_at < timedelta(minutes=1) for each in machines)
    make = min(wanted - len(kept), rule.most - len(in_bank), rule.per_minute - recent)
    return Plan(end=tuple(sorted(ends)), make=max(0, make))
