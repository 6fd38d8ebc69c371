"""The table of identities, on SQLite and PostgreSQL: one link for each, and what a loss leaves to be done."""

import asyncio
import json
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.audit import AuditAction, Author
from jupyterhub_daas.core.links import LinkSource, Owner, SessionsPolicy
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import ConflictError, NotFoundError, UpstreamUnavailableError
from jupyterhub_daas.services.accounts.audit import AuditStore, Wanted
from jupyterhub_daas.services.accounts.errands import ErrandKind, Errands, Payload
from jupyterhub_daas.services.accounts.identities import Evidence, IdentityStore
from jupyterhub_daas.services.accounts.tables import errands, identities

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
ONE = Identity(issuer="https://umbrella.example", subject="Amara@umbrella.example")
SECOND = Identity(issuer=ONE.issuer, subject="amara-too@umbrella.example")
ELSEWHERE = Identity(issuer="https://institute.example", subject=ONE.subject)
PERSON = Evidence(LinkSource.PERSON, "Signed in with both.", Author.person("amara"))
STAFF = Evidence(LinkSource.STAFF, "Ticket 4711.", Author.person("sofia"))


@pytest.fixture
async def store(engine: AsyncEngine) -> IdentityStore:
    await upgrade(engine, "accounts")
    return IdentityStore(engine)


async def whose(store: IdentityStore, identity: Identity, directory: str | None = None) -> Owner:
    return await store.settle(identity, directory, now=NOW)


async def left(engine: AsyncEngine) -> list[tuple[str, dict[str, object]]]:
    """Return the errands that wait."""
    async with engine.connect() as connection:
        rows = (await connection.execute(select(errands).order_by(errands.c.id))).all()
    return [(row.kind, json.loads(row.payload)) for row in rows]


async def told(engine: AsyncEngine) -> list[tuple[AuditAction, str, str | None, str]]:
    """Return what the trail says of links, the oldest first."""
    page = await AuditStore(engine).list_records(Wanted())
    return [
        (each.action, each.actor.name, each.on_behalf_of, each.details["source"])
        for each in reversed(page.items)
    ]


async def test_follows_the_directory_and_tells_of_each_change(
    store: IdentityStore, engine: AsyncEngine
) -> None:
    assert await whose(store, ONE) == Owner()
    assert await whose(store, ONE, "amara") == Owner(username="amara")
    assert await whose(store, ONE, "amara") == Owner(username="amara")
    assert await whose(store, ONE, "bruno") == Owner(username="bruno")
    assert await whose(store, ONE) == Owner()
    assert await told(engine) == [
        (AuditAction.LINK, "accounts", "amara", "directory"),
        (AuditAction.UNLINK, "accounts", "amara", "directory"),
        (AuditAction.LINK, "accounts", "bruno", "directory"),
        (AuditAction.UNLINK, "accounts", "bruno", "directory"),
    ]
    lost = {**ONE.model_dump(), "keep_sessions": False}
    assert (await left(engine))[:2] == [
        ("end_logins", {"username": "amara", "lost": lost}),
        ("end_sessions", {"username": "amara"}),
    ]


async def test_compares_exactly(store: IdentityStore) -> None:
    await store.link(ONE, "amara", STAFF, directory=None, now=NOW)
    other_case = Identity(issuer=ONE.issuer, subject=ONE.subject.lower())
    for identity in (other_case, ELSEWHERE, Identity(issuer=ONE.issuer + "/", subject=ONE.subject)):
        assert await whose(store, identity) == Owner()


@pytest.mark.parametrize("evidence", [PERSON, STAFF], ids=["person", "staff"])
async def test_refuses_what_leads_to_another_or_is_a_second(store: IdentityStore, evidence: Evidence) -> None:
    await store.link(ONE, "amara", evidence, directory=None, now=NOW)
    await store.link(ONE, "amara", evidence, directory=None, now=NOW)
    with pytest.raises(ConflictError, match="belongs to somebody else"):
        await store.link(ONE, "bruno", evidence, directory=None, now=NOW)
    with pytest.raises(ConflictError, match="same provider"):
        await store.link(SECOND, "amara", evidence, directory=None, now=NOW)
    await store.link(ELSEWHERE, "amara", evidence, directory=None, now=NOW)
    assert [each.identity for each in await store.links_of("amara", ())] == [ONE, ELSEWHERE]
    assert await store.links_of("bruno", ()) == ()


async def test_refuses_a_person_what_the_directory_links_to_another(store: IdentityStore) -> None:
    with pytest.raises(ConflictError):
        await store.link(ONE, "amara", PERSON, directory="bruno", now=NOW)
    assert await whose(store, ONE, "bruno") == Owner(username="bruno")


async def test_a_dispute_is_nobody_s_until_staff_decides(store: IdentityStore) -> None:
    await store.link(ONE, "amara", PERSON, directory=None, now=NOW)
    assert await whose(store, ONE, "bruno") == Owner(disputed=True)
    with pytest.raises(ConflictError):
        await store.link(ONE, "amara", PERSON, directory="bruno", now=NOW)
    await store.link(ONE, "bruno", STAFF, directory="bruno", now=NOW)
    assert await whose(store, ONE, "bruno") == Owner(username="bruno")
    assert await store.links_of("amara", ()) == ()


async def test_staff_moves_an_identity_and_the_directory_does_not_bring_it_back(
    store: IdentityStore, engine: AsyncEngine
) -> None:
    assert await whose(store, ONE, "amara") == Owner(username="amara")
    await store.unlink(ONE, "amara", STAFF, directory="amara", now=NOW)
    assert await whose(store, ONE, "amara") == Owner()
    assert await store.links_of("amara", (ONE,)) == ()
    await store.link(ONE, "bruno", STAFF, directory="amara", now=NOW)
    assert await whose(store, ONE, "amara") == Owner(username="bruno")
    assert [each[:2] for each in await told(engine)] == [
        (AuditAction.LINK, "accounts"),
        (AuditAction.UNLINK, "sofia"),
        (AuditAction.LINK, "sofia"),
    ]


async def test_what_was_never_used_can_be_taken_away_too(store: IdentityStore) -> None:
    listed = await store.links_of("amara", (ONE,))
    assert [(each.identity, each.source, each.linked_at) for each in listed] == [
        (ONE, LinkSource.DIRECTORY, None)
    ]
    await store.unlink(ONE, "amara", PERSON, directory="amara", now=NOW)
    assert await whose(store, ONE, "amara") == Owner()
    for username in ("amara", "bruno"):
        with pytest.raises(NotFoundError):
            await store.unlink(ONE, username, STAFF, directory="amara", now=NOW)


async def test_sessions_stay_if_the_settings_say_so(engine: AsyncEngine, store: IdentityStore) -> None:
    keeping = IdentityStore(engine, sessions=SessionsPolicy.KEEP)
    await keeping.link(ONE, "amara", STAFF, directory=None, now=NOW)
    await keeping.unlink(ONE, "amara", STAFF, directory=None, now=NOW)
    lost = {**ONE.model_dump(), "keep_sessions": True}
    assert await left(engine) == [("end_logins", {"username": "amara", "lost": lost})]


async def test_of_many_at_once_one_gets_it(store: IdentityStore, engine: AsyncEngine) -> None:
    names = [f"person-{number}" for number in range(12)]
    attempts = [store.link(ONE, name, STAFF, directory=None, now=NOW) for name in names]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert results.count(None) == 1
    assert all(each is None or isinstance(each, ConflictError) for each in results)
    settled = await asyncio.gather(*(whose(store, SECOND, "zoe") for _ in range(12)))
    assert set(settled) == {Owner(username="zoe")}
    async with engine.connect() as connection:
        rows = (await connection.execute(select(identities).filter_by(revoked_at=None))).all()
    assert len(rows) == 2


async def test_one_account_per_issuer_even_at_once(store: IdentityStore) -> None:
    many = [Identity(issuer=ONE.issuer, subject=f"subject-{number}") for number in range(8)]
    attempts = [store.link(each, "amara", PERSON, directory=None, now=NOW) for each in many]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert results.count(None) == 1


# --- errands


class Ways:
    """Carry errands out, or fail to."""

    def __init__(self) -> None:
        self.away: set[ErrandKind] = set()
        self.done: list[tuple[ErrandKind, Payload]] = []

    def errands(self, engine: AsyncEngine) -> Errands:
        """Return what carries out by these ways."""
        return Errands(engine, {kind: self._way(kind) for kind in ErrandKind})

    def _way(self, kind: ErrandKind):  # type: ignore[no-untyped-def]
        async def carry_out(payload: Payload) -> None:
            if kind in self.away:
                raise UpstreamUnavailableError("Away.", service="hub")
            self.done.append((kind, payload))

        return carry_out


async def test_what_fails_is_done_later_and_holds_up_nothing_else(
    store: IdentityStore, engine: AsyncEngine
) -> None:
    await store.link(ONE, "amara", STAFF, directory=None, now=NOW)
    await store.unlink(ONE, "amara", STAFF, directory=None, now=NOW)
    ways = Ways()
    ways.away.add(ErrandKind.END_LOGINS)
    await ways.errands(engine).soon()
    assert [kind for kind, _ in ways.done] == [ErrandKind.END_SESSIONS]
    assert [kind for kind, _ in await left(engine)] == ["end_logins"]
    ways.away.clear()
    # Not at once: whoever is away is not asked without a pause.
    await ways.errands(engine).run()
    assert len(ways.done) == 1
    async with engine.begin() as connection:
        row = (await connection.execute(select(errands))).one()
        assert row.attempts == 1
        assert row.due_at > datetime.now(timezone.utc)
        await connection.execute(update(errands).values(due_at=NOW - timedelta(days=1)))
    # Another process, after a crash of the first, finds it all the same.
    await ways.errands(engine).run()
    assert [kind for kind, _ in ways.done] == [ErrandKind.END_SESSIONS, ErrandKind.END_LOGINS]
    assert await left(engine) == []


async def test_nothing_is_left_of_a_change_that_is_refused(store: IdentityStore, engine: AsyncEngine) -> None:
    await store.link(ONE, "amara", STAFF, directory=None, now=NOW)
    with pytest.raises(NotFoundError):
        await store.unlink(ONE, "bruno", STAFF, directory=None, now=NOW)
    assert await left(engine) == []
