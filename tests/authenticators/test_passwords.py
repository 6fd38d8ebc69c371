"""Passwords behind the limits: which source is asked, and how long a no takes."""

import asyncio
import time
from pathlib import Path

import pytest

from jupyterhub_daas.authenticators.accounts.settings import Accounts, FileSettings
from jupyterhub_daas.authenticators.attempts import AttemptLimit, Attempts
from jupyterhub_daas.authenticators.entry import PasswordGiven
from jupyterhub_daas.authenticators.passwords import REFUSAL_SECONDS, Passwords
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import TooManyAttemptsError, UnauthenticatedError, UpstreamUnavailableError
from tests.support.waiting import wait_for

ADDRESS = "192.0.2.1"


class Accepting:
    """A source whose accounts have their names as passwords; a test may hold it up or take it away."""

    room = 4

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.away = False
        self.asked: list[str] = []
        self.most_at_once = self._now = 0

    async def check(self, username: str, password: str) -> str | None:
        self.asked.append(username)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await self.go_on.wait()
        self._now -= 1
        if self.away:
            raise UpstreamUnavailableError("Away.")
        return username if username == password else None

    async def exists(self, username: str) -> bool:
        return True


class Desk:
    """Passwords with two sources."""

    def __init__(self) -> None:
        self.staff, self.visitors = Accepting("file:staff"), Accepting("file:visitors")
        sources = {
            "staff": Accounts(settings("staff", "username"), self.staff),
            "visitors": Accounts(settings("visitors", "link"), self.visitors),
        }
        self.passwords = Passwords(sources, Attempts(AttemptLimit(3, 900), AttemptLimit(50, 900)))

    async def check(self, username: str, password: str, source: str = "") -> tuple[Identity, bool]:
        return await self.passwords.check(PasswordGiven(username, password, source), ADDRESS)


def settings(key: str, person: str) -> FileSettings:
    """Return the settings of a source."""
    found: FileSettings = FileSettings.model_validate(
        {"kind": "file", "key": key, "title": key, "path": Path("/"), "person": person}
    )
    return found


@pytest.fixture
async def desk() -> Desk:
    """Two sources behind the limits."""
    return Desk()


async def test_the_chosen_source_is_asked_and_no_other(desk: Desk) -> None:
    assert await desk.check("amara", "amara") == (Identity(issuer="file:staff", subject="amara"), True)
    chosen = await desk.check("amara", "amara", "visitors")
    assert chosen == (Identity(issuer="file:visitors", subject="amara"), False)
    assert (desk.staff.asked, desk.visitors.asked) == (["amara"], ["amara"])


@pytest.mark.parametrize("source", ["nowhere", "Staff", "?"])
async def test_a_source_that_is_not_there_asks_nobody(desk: Desk, source: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await desk.check("amara", "amara", source)
    assert desk.staff.asked == desk.visitors.asked == []


@pytest.mark.parametrize("source", ["staff", "visitors"])
@pytest.mark.parametrize("username", ["amara", "nobody", "Not A Name", "x" * 64])
async def test_a_no_takes_its_time_whatever_was_wrong(desk: Desk, username: str, source: str) -> None:
    began = time.monotonic()
    with pytest.raises(UnauthenticatedError, match="Wrong username or password"):
        await desk.check(username, "wrong", source)
    # The lower bound is the point: what a source needs for either lies within it.
    assert time.monotonic() - began >= REFUSAL_SECONDS - 0.01


async def test_slow_answers_to_one_hold_up_nobody_else(desk: Desk) -> None:
    wrong = [asyncio.ensure_future(desk.check(f"guess{number}", "wrong")) for number in range(20)]
    assert await desk.check("amara", "amara")
    assert not any(each.done() for each in wrong)
    answers = await asyncio.gather(*wrong, return_exceptions=True)
    assert {type(answer) for answer in answers} == {UnauthenticatedError}


async def test_many_guesses_at_once_do_not_slip_past_the_limit(desk: Desk) -> None:
    guesses = [desk.check("amara", f"wrong {number}") for number in range(20)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert kinds.count(UnauthenticatedError) == 3
    assert kinds.count(TooManyAttemptsError) == 17
    assert len(desk.staff.asked) == 3


async def test_guesses_at_one_name_count_whatever_the_source_and_the_spelling(desk: Desk) -> None:
    for username, source in (("amara", "staff"), ("AMARA", "visitors"), ("Amara", "staff")):
        with pytest.raises(UnauthenticatedError):
            await desk.check(username, "wrong", source)
    with pytest.raises(TooManyAttemptsError):
        await desk.check("amara", "amara", "visitors")


async def test_a_source_has_room_for_so_many_at_once(desk: Desk) -> None:
    desk.staff.go_on.clear()
    names = [f"name{number}" for number in range(12)]
    asking = [asyncio.ensure_future(desk.check(name, name)) for name in names]
    await wait_for(lambda: len(desk.staff.asked) == desk.staff.room)
    assert await desk.check("amara", "amara", "visitors")  # the other source has room of its own
    desk.staff.go_on.set()
    assert [identity.subject for identity, _ in await asyncio.gather(*asking)] == names
    assert desk.staff.most_at_once == desk.staff.room


async def test_an_outage_is_no_wrong_password(desk: Desk) -> None:
    desk.staff.away = True
    for _ in range(5):
        with pytest.raises(UpstreamUnavailableError):
            await desk.check("amara", "amara")
    desk.staff.away = False
    assert await desk.check("amara", "amara")
