"""Accounts of the machine: real ones, asked by PAM through a service of the tests' own."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_daas.authenticators.accounts.pam import PamAccounts
from jupyterhub_daas.authenticators.accounts.settings import read_sources
from jupyterhub_daas.errors import ConfigurationError, UpstreamUnavailableError
from tests.authenticators.portal import Portal
from tests.support.sign_in import sign_in_with_account
from tests.support.unix_people import UnixPeople

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask PAM about others")

PASSWORD = "a real password, ümlauts too"
SERVICE = "auth required pam_unix.so nodelay\naccount required pam_unix.so\n"


@pytest.fixture(scope="module")
def people() -> Iterator[UnixPeople]:
    """Accounts of this machine."""
    with UnixPeople() as made:
        yield made


@pytest.fixture(scope="module")
def service(people: UnixPeople) -> str:
    """A PAM service."""
    return people.service("pam", SERVICE)


@pytest.fixture
def amara(people: UnixPeople) -> Iterator[str]:
    """Somebody with an account."""
    username = people.add("amara", PASSWORD)
    yield username
    people.remove(username)


@pytest.fixture
def source(service: str) -> PamAccounts:
    """The source."""
    return PamAccounts(service, title="Unix account", place="here")


async def test_the_right_password_yields_the_name(source: PamAccounts, amara: str, service: str) -> None:
    assert await source.check(amara, PASSWORD) == amara
    assert await source.exists(amara)
    assert source.issuer == f"pam:{service}"


@pytest.mark.parametrize(
    "password", ["wrong", "", PASSWORD + " ", PASSWORD + "\0", PASSWORD + "\0more", "\ud800"]
)
async def test_another_password_yields_nobody(source: PamAccounts, amara: str, password: str) -> None:
    assert await source.check(amara, password) is None


@pytest.mark.parametrize("change", [str.upper, str.title, lambda name: f" {name}", lambda name: f"{name}\n"])
async def test_another_spelling_yields_nobody(
    source: PamAccounts, amara: str, change: Callable[[str], str]
) -> None:
    assert await source.check(change(amara), PASSWORD) is None


async def test_an_unknown_name_is_nobody(source: PamAccounts) -> None:
    assert await source.check("daas-nobody-at-all", PASSWORD) is None
    assert not await source.exists("daas-nobody-at-all")


NOT_IN_ORDER = {
    "expired": ("usermod", "--expiredate", "1"),
    "locked": ("usermod", "--lock", "--expiredate", "1"),
    "password to be changed": ("chage", "-d", "0"),
}


@pytest.mark.parametrize("command", NOT_IN_ORDER.values(), ids=NOT_IN_ORDER)
async def test_an_account_that_is_not_in_order_is_out(
    source: PamAccounts, people: UnixPeople, amara: str, command: tuple[str, ...]
) -> None:
    people.change(amara, *command)
    assert await source.check(amara, PASSWORD) is None
    assert not await source.exists(amara)


async def test_an_account_of_the_system_is_never_tried(source: PamAccounts, people: UnixPeople) -> None:
    daemon = people.add("daemon", PASSWORD, "--system")
    assert await source.check(daemon, PASSWORD) is None
    assert not await source.exists(daemon)
    assert not await source.exists("root")


async def test_pam_that_cannot_tell_is_an_outage(people: UnixPeople, amara: str) -> None:
    broken = people.service("broken", "auth required pam_of_nobody.so\naccount required pam_of_nobody.so\n")
    source = PamAccounts(broken, title="Unix account", place="here")
    with pytest.raises(UpstreamUnavailableError, match="Unix account"):
        await source.check(amara, PASSWORD)


def test_refuses_to_start_without_a_service_of_that_name() -> None:
    # PAM would take the rules of "other" instead, which on Debian let everybody in who has an account.
    wanted = {"kind": "pam", "key": "unix", "title": "Unix", "service": "daas-not-there"}
    with pytest.raises(ConfigurationError, match="daas-not-there is missing") as error:
        read_sources([wanted], same_people=False)
    assert error.value.field == "DaasAuthenticator.account_sources[0].service"


async def test_the_event_loop_goes_on_while_pam_holds_a_wrong_password_back(
    people: UnixPeople, amara: str
) -> None:
    slow = people.service("slow", "auth required pam_unix.so\naccount required pam_unix.so\n")
    source = PamAccounts(slow, title="Unix account", place="here")
    asking = [asyncio.ensure_future(source.check(amara, "wrong")) for _ in range(4)]
    beats = 0
    while not all(each.done() for each in asking):
        beats += 1
        await asyncio.sleep(0.01)
    assert beats > 10  # two seconds each, and all four together
    assert [each.result() for each in asking] == [None] * 4


def test_a_hub_signs_in_with_it_and_ends_the_login_with_the_account(
    people: UnixPeople, amara: str, service: str, tmp_path: Path
) -> None:
    sources: list[dict[str, Any]] = [
        {"kind": "pam", "key": "unix", "title": "Unix account", "service": service}
    ]
    portal = Portal(tmp_path, refresh_age=1, more_sources=sources, as_root=True)
    try:
        portal.start()
        portal.services.know(amara)
        session = portal.visit()
        assert sign_in_with_account(session, portal.url, amara, "wrong", source="unix").status_code == 403
        answer = sign_in_with_account(session, portal.url, amara, PASSWORD, source="unix")
        assert answer.status_code == 302, answer.text
        assert amara in portal.home(session).text
        assert portal.hub_user(amara)["auth_state"]["identity"] == {
            "issuer": f"pam:{service}",
            "subject": amara,
        }
        people.change(amara, "usermod", "--expiredate", "1")
        portal.wait_until_out(session)
        assert PASSWORD not in portal.stack.log()
    finally:
        portal.close()
