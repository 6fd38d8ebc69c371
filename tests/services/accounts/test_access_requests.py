"""Requests for access, on SQLite and PostgreSQL: one open one each, answered once, nothing half given."""

import asyncio
import json
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.access_requests import AccessRequest, AskedAccess, RequestState
from jupyterhub_daas.core.audit import ActorKind, AuditAction, Author
from jupyterhub_daas.core.links import LinkSource, Owner
from jupyterhub_daas.core.people import Identity, Role
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import ConflictError, NotFoundError, TooManyAttemptsError
from jupyterhub_daas.services.accounts import access_requests as module
from jupyterhub_daas.services.accounts.access_requests import Given, RequestStore
from jupyterhub_daas.services.accounts.audit import AuditStore, Wanted
from jupyterhub_daas.services.accounts.identities import Evidence, IdentityStore
from jupyterhub_daas.services.accounts.models import RoleRequest
from jupyterhub_daas.services.accounts.store import AccountsStore
from jupyterhub_daas.services.accounts.tables import errands

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
ONE = Identity(issuer="https://umbrella.example", subject="Amara@umbrella.example")
STAFF = Author.person("sofia")
NOTHING = Given(link_to=None, person=None, directory=None)


@pytest.fixture
async def store(engine: AsyncEngine) -> RequestStore:
    await upgrade(engine, "accounts")
    return RequestStore(engine, IdentityStore(engine))


def asked(identity: Identity = ONE) -> AskedAccess:
    return AskedAccess(
        identity=identity,
        provider="UmbrellaID",
        name="Amara",
        email="amara@a.example",
        message="Please.\n\nSoon.",
    )


async def ask(
    store: RequestStore, identity: Identity = ONE, *, username: str | None = None, now: datetime = NOW
) -> AccessRequest:
    return await store.ask(asked(identity), username, request_id="r-1", now=now)


async def test_keeps_what_was_asked_and_has_staff_told(store: RequestStore, engine: AsyncEngine) -> None:
    made = await ask(store)
    assert made.state is RequestState.PENDING
    assert await store.list_requests(identity=ONE) == (made,)
    assert await store.read(made.id) == made
    async with engine.connect() as connection:
        rows = (await connection.execute(select(errands))).all()
    assert [(row.kind, json.loads(row.payload)) for row in rows] == [
        ("notify", {"request": made.model_dump(mode="json")})
    ]
    (event,) = (await AuditStore(engine).list_records(Wanted())).items
    assert (event.action, event.actor.kind) == (AuditAction.ACCESS_REQUEST, ActorKind.IDENTITY)
    assert event.details == {"change": "made", "request": str(made.id)}
    assert "amara@a.example" not in event.model_dump_json()


async def test_one_open_request_for_each_identity(store: RequestStore) -> None:
    attempts = await asyncio.gather(*(ask(store) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(each, AccessRequest) for each in attempts) == 1
    assert sum(isinstance(each, ConflictError) for each in attempts) == 7
    other_case = Identity(issuer=ONE.issuer, subject=ONE.subject.lower())
    assert (await ask(store, other_case)).identity == other_case


async def test_limits_how_often_one_asks_and_how_many_wait(
    store: RequestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(module.MOST_A_DAY):
        made = await ask(store, now=NOW + timedelta(minutes=minute))
        await store.decline(made, "No.", by=STAFF, now=NOW)
    with pytest.raises(TooManyAttemptsError, match="since yesterday") as refused:
        await ask(store, now=NOW + timedelta(hours=1))
    assert refused.value.details["retry_after"] == 23 * 3600 + 1
    monkeypatch.setattr(module, "MOST_OPEN", 2)
    await ask(store, now=NOW + timedelta(days=1, seconds=1))
    await ask(store, Identity(issuer="https://a.example", subject="b"))
    with pytest.raises(TooManyAttemptsError, match="Too many requests wait"):
        await ask(store, Identity(issuer="https://a.example", subject="c"))


async def test_an_acceptance_links_and_gives_the_role(store: RequestStore, engine: AsyncEngine) -> None:
    made = await ask(store)
    grant = RoleRequest(instruments=("id21",), reason=f"Request for access {made.id}.")
    given = Given("amara", "amara", None, Role.INSTRUMENT_SCIENTIST, grant)
    done = await store.accept(made, given, "Welcome.", by=STAFF, now=NOW)
    assert (done.state, done.answer, done.answered_by) == (RequestState.ACCEPTED, "Welcome.", "sofia")
    assert (done.username, done.answered_at) == ("amara", NOW)
    identities = IdentityStore(engine)
    assert await identities.settle(ONE, None, now=NOW) == Owner(username="amara")
    (link,) = await identities.links_of("amara", ())
    assert (link.source, link.reason) == (LinkSource.STAFF, f"Request for access {made.id}. Welcome.")
    (role,) = await AccountsStore(engine).list_roles("amara")
    assert (role.role, role.instruments, role.granted_by) == (Role.INSTRUMENT_SCIENTIST, ("id21",), "sofia")
    actions = [each.action for each in (await AuditStore(engine).list_records(Wanted())).items]
    assert set(actions) == {AuditAction.ACCESS_REQUEST, AuditAction.LINK, AuditAction.ROLE}


async def test_nothing_is_given_if_the_link_is_refused(store: RequestStore, engine: AsyncEngine) -> None:
    made = await ask(store)
    identities = IdentityStore(engine)
    staff = Evidence(LinkSource.STAFF, "Ticket.", STAFF)
    await identities.link(ONE, "bruno", staff, directory=None, now=NOW)
    given = Given("amara", "amara", None, Role.STAFF, RoleRequest(reason="Test."))
    with pytest.raises(ConflictError, match="belongs to somebody else"):
        await store.accept(made, given, "", by=STAFF, now=NOW)
    assert (await store.read(made.id)).state is RequestState.PENDING
    assert await AccountsStore(engine).list_roles("amara") == ()


async def test_is_answered_once(store: RequestStore) -> None:
    made = await ask(store, username="dora")
    assert made.username == "dora"
    verdicts = [
        store.accept(made, NOTHING._replace(person="dora"), "Done.", by=STAFF, now=NOW),
        store.decline(made, "No.", by=Author.person("lars"), now=NOW),
    ]
    results = await asyncio.gather(*verdicts, return_exceptions=True)
    assert sum(isinstance(each, AccessRequest) for each in results) == 1
    (late,) = [each for each in results if isinstance(each, ConflictError)]
    kept = await store.read(made.id)
    assert late.message == f"This request was {kept.state.value} by {kept.answered_by} meanwhile."
    with pytest.raises(NotFoundError):
        await store.read(made.id + 1)


async def test_lists_the_latest_first_in_stretches(store: RequestStore) -> None:
    made = [await ask(store, Identity(issuer="https://a.example", subject=str(n))) for n in range(5)]
    await store.decline(made[4], "No.", by=STAFF, now=NOW)
    listed = await store.list_requests(limit=2)
    assert [each.id for each in listed] == [made[4].id, made[3].id]
    rest = await store.list_requests(before=listed[-1].id)
    assert [each.id for each in rest] == [each.id for each in (made[2], made[1], made[0])]
    waiting = await store.list_requests(state=RequestState.PENDING)
    assert [each.id for each in waiting] == [each.id for each in reversed(made[:4])]
