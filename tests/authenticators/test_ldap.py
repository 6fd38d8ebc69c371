"""Accounts of a real directory: slapd over TLS, as careless as directories are."""

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from jupyterhub_daas.authenticators.accounts.ldap import LdapAccounts
from jupyterhub_daas.authenticators.accounts.settings import read_sources
from jupyterhub_daas.errors import UpstreamAnswerError, UpstreamError, UpstreamUnavailableError
from tests.support.ldap_lab import LdapLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LdapLab]:
    """The directory."""
    made = LdapLab(tmp_path_factory.mktemp("ldap"))
    try:
        yield made.start()
    finally:
        made.stop()


def source_of(lab: LdapLab, **changes: Any) -> LdapAccounts:
    """Return the source for the laboratory's directory."""
    source = read_sources([lab.settings(**changes)], same_people=False)["directory"].source
    assert isinstance(source, LdapAccounts)
    return source


def binds(lab: LdapLab) -> list[str]:
    """Return the names of all binds so far."""
    return re.findall(r'BIND dn="([^"]*)" method', lab.log())


async def test_the_right_password_yields_the_name(lab: LdapLab) -> None:
    source = source_of(lab)
    assert await source.check("amara", "amara-directory") == "amara"
    assert await source.exists("amara")
    assert source.issuer == "ldap:ou=people,dc=facility,dc=example"


WRONG = {
    "wrong password": ("amara", "wrong"),
    "somebody else's password": ("amara", "zoe-directory"),
    "no password: a bind that succeeds as nobody": ("amara", ""),
    "password that C would end early": ("amara", "amara-directory\0x"),
    "unknown name": ("nobody", "amara-directory"),
    "no name": ("", ""),
    "other letter case": ("AMARA", "amara-directory"),
    "name that is written with a capital there": ("kim", "kim-directory"),
    "outside of the base": ("gone", "gone-directory"),
    "everybody": ("*", "amara-directory"),
    "part of a name": ("amar*", "amara-directory"),
    "a filter": ("amara)(uid=*", "amara-directory"),
    "a filter that closes": ("*))(|(uid=amara", "amara-directory"),
    "a distinguished name": ("amara,ou=people,dc=facility,dc=example", "amara-directory"),
    "space around": (" amara ", "amara-directory"),
    "escaped": ("\\61mara", "amara-directory"),
    "portal's own account": ("portal", "any"),
}


@pytest.mark.parametrize(("username", "password"), WRONG.values(), ids=WRONG)
async def test_anything_else_yields_nobody(lab: LdapLab, username: str, password: str) -> None:
    assert await source_of(lab).check(username, password) is None


async def test_the_directory_would_take_a_name_without_a_password(lab: LdapLab) -> None:
    # What the source has to catch is there: without its own check this bind counts as proof.
    source = source_of(lab)
    assert await source._ask(lambda connection: source._proves(connection, "amara", ""))


async def test_a_name_that_is_there_twice_is_nobody(lab: LdapLab, caplog: pytest.LogCaptureFixture) -> None:
    whole = source_of(lab, base="dc=facility,dc=example")
    assert await whole.check("twin", "twin-directory") is None
    assert "several entries" in caplog.text
    assert await source_of(lab).check("twin", "twin-directory") == "twin"


async def test_a_name_in_a_filter_or_an_entry_means_itself(lab: LdapLab) -> None:
    # The form's own rule keeps these out already; the filter must not rely on it.
    source = source_of(lab)
    for name in ("*", "amar*", "amara)(uid=*"):
        assert await source._ask(lambda it, name=name: source._look_up(it, name)) is None  # type: ignore[misc]


async def test_the_filter_leaves_people_out(lab: LdapLab) -> None:
    source = source_of(lab, filter="(!(cn=zoe))")
    assert await source.check("amara", "amara-directory") == "amara"
    assert await source.check("zoe", "zoe-directory") is None
    assert not await source.exists("zoe")


async def test_an_unknown_name_costs_a_bind_too(lab: LdapLab) -> None:
    source = source_of(lab)
    asked = len(binds(lab))
    await source.check("amara", "wrong")
    known = binds(lab)[asked:]
    await source.check("nobody", "wrong")
    unknown = binds(lab)[asked + len(known) :]
    portal = "cn=portal,dc=facility,dc=example"
    assert known == [portal, "uid=amara,ou=people,dc=facility,dc=example"]
    assert unknown[0] == portal
    assert re.fullmatch("uid=[0-9a-f]{16},ou=people,dc=facility,dc=example", unknown[1])
    assert len(unknown) == 2


DISTRUSTED = {
    "another authority": {"ca_file": None},
    "certificate for another host": {"url": "ldaps://127.0.0.2"},
}


@pytest.mark.parametrize("changes", DISTRUSTED.values(), ids=DISTRUSTED)
async def test_a_server_that_is_not_proven_gets_no_password(lab: LdapLab, changes: dict[str, Any]) -> None:
    port = lab.url.rpartition(":")[2]
    given = {name: f"{value}:{port}" if name == "url" else value for name, value in changes.items()}
    asked = len(binds(lab))
    with pytest.raises(UpstreamUnavailableError):
        await source_of(lab, **given).check("amara", "amara-directory")
    assert len(binds(lab)) == asked


OURS = {
    "account of the portal's own": {"bind_dn": "cn=nobody,dc=facility,dc=example"},
    "base": {"base": "ou=nowhere,dc=facility,dc=example"},
}


@pytest.mark.parametrize("changes", OURS.values(), ids=OURS)
async def test_a_mistake_of_ours_is_no_wrong_password(
    lab: LdapLab, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UpstreamAnswerError):
        await source_of(lab, **changes).check("amara", "amara-directory")
    assert caplog.records[-1].levelname == "ERROR"


async def test_a_directory_that_is_away_is_an_outage_and_comes_back(lab: LdapLab) -> None:
    source = source_of(lab)
    lab.stop()
    try:
        with pytest.raises(UpstreamUnavailableError, match="Facility directory"):
            await source.check("amara", "amara-directory")
        with pytest.raises(UpstreamUnavailableError):
            await source.exists("amara")
    finally:
        lab.start()
    assert await source.check("amara", "amara-directory") == "amara"


async def test_a_directory_that_hangs_is_an_outage_and_frees_its_threads(lab: LdapLab) -> None:
    source = source_of(lab)
    quick = LdapAccounts(source._directory, title="Facility directory", timeout=0.5)
    lab.freeze()
    try:
        answers = await asyncio.gather(
            *(quick.check("amara", "amara-directory") for _ in range(20)), return_exceptions=True
        )
    finally:
        lab.thaw()
    assert {type(answer) for answer in answers} == {UpstreamUnavailableError}
    # Many outages leave no thread behind that could be lacking now.
    assert await source.check("amara", "amara-directory") == "amara"


async def test_a_directory_that_hangs_in_mid_conversation_frees_its_thread(lab: LdapLab) -> None:
    source = source_of(lab)
    quick = LdapAccounts(source._directory, title="Facility directory", timeout=1.0)
    ended = threading.Event()

    def freeze_and_ask(connection: Any) -> None:
        lab.freeze()
        try:
            quick._look_up(connection, "amara")
        finally:
            ended.set()

    try:
        with pytest.raises(UpstreamUnavailableError):
            await quick._ask(freeze_and_ask)
        assert await asyncio.get_running_loop().run_in_executor(None, ended.wait, 30)
    finally:
        lab.thaw()


async def test_the_event_loop_goes_on_meanwhile(lab: LdapLab) -> None:
    source, beats = source_of(lab), 0
    asking = asyncio.ensure_future(source.check("amara", "amara-directory"))
    while not asking.done():
        beats += 1
        await asyncio.sleep(0)
    assert await asking == "amara"
    assert beats > 10


async def test_many_at_once_are_each_themselves(lab: LdapLab) -> None:
    source = source_of(lab)
    names = ["amara", "zoe"] * 15
    assert await asyncio.gather(*(source.check(name, f"{name}-directory") for name in names)) == names
    wrong = await asyncio.gather(*(source.check(name, "wrong") for name in names))
    assert set(wrong) == {None}


async def test_nothing_that_was_typed_is_logged(lab: LdapLab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    source = source_of(lab)
    await source.check("amara", "wrong-and-secret")
    lab.stop()
    try:
        with pytest.raises(UpstreamError) as error:
            await source.check("amara", "wrong-and-secret")
    finally:
        lab.start()
    said = caplog.text + repr(error.value) + repr(error.value.details)
    assert "wrong-and-secret" not in said
    assert source._directory.password not in said
