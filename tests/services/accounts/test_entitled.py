"""Roles by entitlement, on SQLite and PostgreSQL: they follow what a provider says, and end with the link."""

import asyncio
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.audit import Actor, ActorKind, AuditAction, Author
from jupyterhub_daas.core.links import LinkSource
from jupyterhub_daas.core.people import Identity, Role
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import NotFoundError
from jupyterhub_daas.services.accounts.audit import AuditStore, Wanted
from jupyterhub_daas.services.accounts.entitled import EntitledStore
from jupyterhub_daas.services.accounts.identities import Evidence, IdentityStore
from jupyterhub_daas.services.accounts.models import EntitledRole, EntitledRoles, RoleRequest, RoleSource
from jupyterhub_daas.services.accounts.store import AccountsStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
ONE = Identity(issuer="https://umbrella.example", subject="amara@umbrella.example")
OTHER = Identity(issuer="https://institute.example", subject="amara")
STAFF = Evidence(LinkSource.STAFF, "Ticket 4711.", Author.person("sofia"))
HUB = Author(Actor(kind=ActorKind.SERVICE, name="daas-hub"))
HOURS = 12


@pytest.fixture
async def store(engine: AsyncEngine) -> EntitledStore:
    """The table, with two identities of Amara."""
    await upgrade(engine, "accounts")
    identities = IdentityStore(engine)
    for each in (ONE, OTHER):
        await identities.link(each, "amara", STAFF, directory=None, now=NOW)
    return EntitledStore(engine, identities, hours=HOURS)


async def say(
    store: EntitledStore,
    *roles: Role,
    identity: Identity = ONE,
    username: str = "amara",
    instruments: tuple[str, ...] = (),
    now: datetime = NOW,
) -> bool:
    """Say which roles an identity gives."""
    given = tuple(EntitledRole(role=role, instruments=instruments) for role in roles)
    return await store.replace(username, EntitledRoles(identity=identity, roles=given), author=HUB, now=now)


async def held(
    engine: AsyncEngine, username: str = "amara"
) -> list[tuple[Role, datetime | None, RoleSource]]:
    """Return the roles of a person."""
    roles = await AccountsStore(engine).list_roles(username)
    return [(each.role, each.expires_at, each.source) for each in roles]


async def changes(engine: AsyncEngine) -> list[tuple[str, str]]:
    """Return what the trail says of roles, the oldest first."""
    page = await AuditStore(engine).list_records(Wanted(action=AuditAction.ROLE))
    return [(each.details["change"], each.details["role"]) for each in reversed(page.items)]


async def test_roles_follow_what_is_said(store: EntitledStore, engine: AsyncEngine) -> None:
    until = NOW + timedelta(hours=HOURS)
    assert await say(store, Role.STAFF, Role.SUPPORT) is True
    assert await held(engine) == [
        (Role.STAFF, until, RoleSource.ENTITLEMENT),
        (Role.SUPPORT, until, RoleSource.ENTITLEMENT),
    ]
    (standing, _, roles) = await AccountsStore(engine).read_standing("amara", "1")
    assert (standing, [each.role for each in roles]) == (None, [Role.STAFF, Role.SUPPORT])
    assert await say(store, Role.SUPPORT) is True
    assert [each[0] for each in await held(engine)] == [Role.SUPPORT]
    assert await say(store) is True
    assert await held(engine) == []
    assert await say(store) is False
    assert await changes(engine) == [
        ("granted", "staff"),
        ("granted", "support"),
        ("revoked", "staff"),
        ("revoked", "support"),
    ]


async def test_what_is_said_again_holds_longer_and_is_told_once(
    store: EntitledStore, engine: AsyncEngine
) -> None:
    await say(store, Role.STAFF)
    for hours, until in ((1, HOURS), (7, HOURS + 7)):
        assert await say(store, Role.STAFF, now=NOW + timedelta(hours=hours)) is False
        assert [each[1] for each in await held(engine)] == [NOW + timedelta(hours=until)]
    # Expired in between: given anew, and told.
    assert await say(store, Role.STAFF, now=NOW + timedelta(hours=30)) is True
    assert await changes(engine) == [("granted", "staff"), ("granted", "staff")]


async def test_instruments_are_part_of_what_is_said(store: EntitledStore, engine: AsyncEngine) -> None:
    await say(store, Role.INSTRUMENT_SCIENTIST, instruments=("id21", "id16a"))
    assert await say(store, Role.INSTRUMENT_SCIENTIST, instruments=("id16a", "id21")) is False
    assert await say(store, Role.INSTRUMENT_SCIENTIST, instruments=("id21",)) is True
    (role,) = await AccountsStore(engine).list_roles("amara")
    assert (role.instruments, role.reason) == (("id21",), "By an entitlement of https://umbrella.example.")


async def test_identities_and_staff_give_each_their_own(store: EntitledStore, engine: AsyncEngine) -> None:
    accounts = AccountsStore(engine)
    await accounts.grant("amara", Role.STAFF, RoleRequest(reason="Test."), by=Author.person("sofia"), now=NOW)
    await say(store, Role.STAFF)
    await say(store, Role.STAFF, identity=OTHER)
    await say(store)
    assert [each[2] for each in await held(engine)] == [RoleSource.STAFF, RoleSource.ENTITLEMENT]
    assert await accounts.revoke("amara", Role.STAFF, by=Author.person("sofia"), now=NOW) is True
    assert [each[2] for each in await held(engine)] == [RoleSource.ENTITLEMENT]


async def test_roles_end_with_the_link(store: EntitledStore, engine: AsyncEngine) -> None:
    await say(store, Role.ADMIN)
    await say(store, Role.SUPPORT, identity=OTHER)
    await IdentityStore(engine).unlink(ONE, "amara", STAFF, directory=None, now=NOW)
    assert [each[0] for each in await held(engine)] == [Role.SUPPORT]


@pytest.mark.parametrize("username", ["bruno", "nobody"])
async def test_an_identity_gives_roles_to_its_person_only(
    store: EntitledStore, engine: AsyncEngine, username: str
) -> None:
    with pytest.raises(NotFoundError):
        await say(store, Role.ADMIN, username=username)
    unlinked = Identity(issuer=ONE.issuer, subject="zoe")
    with pytest.raises(NotFoundError):
        await say(store, Role.ADMIN, identity=unlinked)
    assert await held(engine, username) == await held(engine) == []


async def test_said_twice_at_once_is_given_once(store: EntitledStore, engine: AsyncEngine) -> None:
    results = await asyncio.gather(*(say(store, Role.STAFF) for _ in range(6)))
    assert results.count(True) == 1
    assert len(await held(engine)) == 1
    assert await changes(engine) == [("granted", "staff")]
