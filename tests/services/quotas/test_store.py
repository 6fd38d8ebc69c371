"""The store on both databases: decisions at once, ids, and what it costs."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.quota import Entitlement, QuotaPolicy
from jupyterhub_daas.core.reservations import ReservationRequest, ReservationState
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import (
    ConflictError,
    NotFoundError,
    QuotaExceededError,
    UpstreamUnavailableError,
)
from jupyterhub_daas.services.quotas.store import QuotaStore
from jupyterhub_daas.services.quotas.tables import facility, metadata, reservations
from tests.services.quotas.support import (
    ALL,
    ENTITLED,
    POLICY,
    SMALL,
    Clock,
    asking,
    entitled,
    held,
    new_id,
    number_of_rows,
    outcome,
)
from tests.services.schema import differences
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for


async def test_thirty_at_once_against_five(store: QuotaStore, engine: AsyncEngine) -> None:
    counts = Counter(await asyncio.gather(*(outcome(store, asking()) for _ in range(30))))
    assert counts == {"created": 5, "quota_exceeded": 25}
    kept, counted = await held(engine)
    assert (
        kept == counted == Resources(machines=5, cpus=5, memory=5 * SMALL.memory, storage=5 * SMALL.storage)
    )
    assert await number_of_rows(engine) == 5


async def test_thirty_at_once_through_six_processes_worth_of_stores(database_url: str) -> None:
    engines = [create_engine(database_url) for _ in range(6)]
    await upgrade(engines[0], "quotas")
    stores = [QuotaStore(engine, POLICY) for engine in engines]
    counts = Counter(await asyncio.gather(*(outcome(stores[i % 6], asking()) for i in range(30))))
    assert counts == {"created": 5, "quota_exceeded": 25}
    kept, counted = await held(engines[0])
    assert kept == counted
    for engine in engines:
        await engine.dispose()


async def test_many_people_share_the_limit_of_a_proposal_and_of_the_facility(engine: AsyncEngine) -> None:
    policy = QuotaPolicy(proposal_default=Limits(machines=7), facility=Limits(machines=12))
    store = QuotaStore(engine, policy)
    requests = [asking(person=f"p{i}", proposal=f"2018{i % 2}") for i in range(40)]
    counts = Counter(await asyncio.gather(*(outcome(store, request) for request in requests)))
    assert counts == {"created": 12, "quota_exceeded": 28}
    for identifier in ("20180", "20181"):
        assert (await store.quota_of_proposal(identifier)).used.machines <= 7


async def test_the_same_id_twice_at_once_is_one_reservation(store: QuotaStore, engine: AsyncEngine) -> None:
    session_id = new_id()
    same = [outcome(store, asking(), session_id) for _ in range(10)]
    assert Counter(await asyncio.gather(*same)) == {"created": 1, "stands": 9}
    assert await number_of_rows(engine) == 1


async def test_two_different_requests_under_one_id_at_once(store: QuotaStore, engine: AsyncEngine) -> None:
    session_id = new_id()
    both = outcome(store, asking(), session_id), outcome(store, asking(person="bruno"), session_id)
    assert sorted(await asyncio.gather(*both)) == ["conflict", "created"]
    assert await number_of_rows(engine) == 1


async def test_the_same_request_still_stands_after_a_restart(
    store: QuotaStore, engine: AsyncEngine, clock: Clock
) -> None:
    request = asking(
        resources=Resources(machines=1, cpus=0.333, memory=7),
        instruments=("id21", "id16"),
        expires_at="2026-05-01T10:00:00.123456+02:00",
        idle_seconds=60,
    )
    first = await store.reserve("0" * 16, request, ENTITLED)
    again = await QuotaStore(engine, POLICY, clock=clock).reserve("0" * 16, request, ENTITLED)
    assert (again.created, again.reservation) == (False, first.reservation)


async def test_a_refusal_leaves_no_row(store: QuotaStore, engine: AsyncEngine) -> None:
    with pytest.raises(QuotaExceededError) as refused:
        await store.reserve(new_id(), asking(resources=Resources(machines=6)), ENTITLED)
    assert refused.value.details == {
        "dimension": "machines",
        "scope": "person",
        "limit": 5,
        "used": 0,
        "asked": 6,
    }
    assert await number_of_rows(engine) == 0


async def test_release_frees_what_was_held(store: QuotaStore, engine: AsyncEngine) -> None:
    ids = [new_id() for _ in range(5)]
    for session_id in ids:
        await store.reserve(session_id, asking(), ENTITLED)
    await store.activate(ids[0], entitled)
    assert await outcome(store, asking()) == "quota_exceeded"
    await asyncio.gather(*(store.release(ids[0]) for _ in range(5)))
    assert await outcome(store, asking()) == "created"
    kept, counted = await held(engine)
    assert kept == counted
    assert kept.machines == 5


async def test_releasing_what_is_not_there_changes_nothing(store: QuotaStore, engine: AsyncEngine) -> None:
    await store.release(new_id())
    assert await number_of_rows(engine) == 0


async def test_activation_is_recorded_once(store: QuotaStore, clock: Clock) -> None:
    session_id = new_id()
    await store.reserve(session_id, asking(), ENTITLED)
    clock.go_on(seconds=20)
    first = await store.activate(session_id, entitled)
    clock.go_on(seconds=20)
    assert await store.activate(session_id, entitled) == first
    assert first.activated_at == first.created_at + timedelta(seconds=20)


async def test_a_reservation_is_held_on_for_a_start_that_waits(store: QuotaStore, clock: Clock) -> None:
    session_id = new_id()
    first = (await store.reserve(session_id, asking(), ENTITLED)).reservation
    end = first.created_at + timedelta(days=2)
    for _ in range(3):
        clock.go_on(seconds=first.hold_seconds - 1)
        kept = await store.prolong(session_id, end)
        assert (kept.state, kept.expires_at) == (ReservationState.HELD, end)
    page = await store.reservations(person=None, proposal=None, states=ALL, offset=0, limit=None)
    assert [(each.state, each.expires_at) for each in page.items] == [(ReservationState.HELD, end)]
    clock.go_on(seconds=first.hold_seconds + 1)
    with pytest.raises(ConflictError, match="lapsed"):
        await store.prolong(session_id, end)


async def test_refuses_to_hold_on_for_what_runs_or_ended_or_never_was(store: QuotaStore) -> None:
    session_id = new_id()
    with pytest.raises(NotFoundError):
        await store.prolong(session_id, None)
    await store.reserve(session_id, asking(), ENTITLED)
    await store.activate(session_id, entitled)
    with pytest.raises(ConflictError, match="active"):
        await store.prolong(session_id, None)
    await store.release(session_id)
    with pytest.raises(ConflictError, match="released"):
        await store.prolong(session_id, None)


async def test_refuses_to_activate_what_was_released_or_never_was(store: QuotaStore) -> None:
    session_id = new_id()
    with pytest.raises(NotFoundError):
        await store.activate(session_id, entitled)
    await store.reserve(session_id, asking(), ENTITLED)
    await store.release(session_id)
    with pytest.raises(ConflictError):
        await store.activate(session_id, entitled)


async def test_lists_by_person_proposal_and_state(store: QuotaStore, clock: Clock) -> None:
    ids = {}
    for person, proposal in (("amara", "20180301"), ("amara", "20190417"), ("bruno", "20180301")):
        ids[person, proposal] = new_id()
        await store.reserve(ids[person, proposal], asking(person=person, proposal=proposal), ENTITLED)
        clock.go_on(seconds=1)
    await store.release(ids["amara", "20190417"])

    async def found(person: str | None, proposal: str | None, *states: ReservationState) -> list[str]:
        page = await store.reservations(person=person, proposal=proposal, states=states, offset=0, limit=None)
        assert page.total == len(page.items)
        return [item.session_id for item in page.items]

    held_state, released = ReservationState.HELD, ReservationState.RELEASED
    assert await found(None, None, held_state) == [ids["bruno", "20180301"], ids["amara", "20180301"]]
    assert await found("amara", None, held_state) == [ids["amara", "20180301"]]
    assert await found(None, "20190417", held_state) == []
    assert await found(None, "20190417", released, held_state) == [ids["amara", "20190417"]]
    page = await store.reservations(person=None, proposal=None, states=ALL, offset=1, limit=1)
    assert (page.total, [item.session_id for item in page.items]) == (3, [ids["amara", "20190417"]])


async def test_the_migrations_make_the_tables_that_the_code_declares(engine: AsyncEngine) -> None:
    assert await differences(engine, "quotas", metadata) == []


async def test_sets_a_wrong_sum_right_at_start(store: QuotaStore, engine: AsyncEngine) -> None:
    await store.reserve(new_id(), asking(), ENTITLED)
    async with engine.begin() as connection:
        await connection.execute(update(facility).values(machines=99))
    await store.recount()
    kept, counted = await held(engine)
    assert kept == counted == SMALL


async def test_a_caller_who_goes_away_does_not_disturb_the_others(
    store: QuotaStore, engine: AsyncEngine
) -> None:
    calls = [asyncio.ensure_future(outcome(store, asking(person=f"p{i}"))) for i in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [result for result in results if isinstance(result, str)] == ["created"] * 10
    kept, counted = await held(engine)
    assert kept == counted


async def test_nobody_waits_for_ever_when_the_writer_is_ended(store: QuotaStore) -> None:
    calls = [asyncio.ensure_future(outcome(store, asking())) for _ in range(3)]
    await asyncio.sleep(0)
    assert store._writer is not None
    await asyncio.sleep(0)
    store._writer.cancel()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    # The next request finds a writer again.
    assert await outcome(store, asking()) == "created"


async def test_one_request_that_the_database_refuses_fails_alone(
    store: QuotaStore, engine: AsyncEngine
) -> None:
    # No request that the API lets through is like this; should one be, the others must not suffer.
    # PostgreSQL refuses a NUL in a text; SQLite is told to refuse this one name.
    poison = ReservationRequest.model_construct(**{**asking().__dict__, "session": "poison\0"})
    if engine.dialect.name == "sqlite":
        async with engine.begin() as connection:
            trigger = (
                "CREATE TRIGGER no_poison BEFORE INSERT ON quotas_reservations "
                "WHEN NEW.session LIKE 'poison%' BEGIN SELECT RAISE(ABORT, 'poison'); END"
            )
            await connection.execute(text(trigger))
    calls = [outcome(store, asking(person=f"p{i}")) for i in range(5)]
    results = await asyncio.gather(outcome(store, poison), *calls, return_exceptions=True)
    assert isinstance(results[0], Exception)
    assert results[1:] == ["created"] * 5
    kept, counted = await held(engine)
    assert kept == counted
    assert kept.machines == 5


async def test_refuses_new_work_when_too_much_waits(
    store: QuotaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyterhub_daas.services.quotas.store.MAX_WAITING", 3)
    counts = Counter(await asyncio.gather(*(outcome(store, asking()) for _ in range(10))))
    assert counts == {"created": 3, "upstream_unavailable": 7}


async def test_a_check_does_not_read_history(engine: AsyncEngine, store: QuotaStore) -> None:
    one = {
        **dict.fromkeys(("machines", "millicpus", "memory", "storage", "gpus"), 1),
        **{"person": "amara", "proposal": "20180301", "session": "brave-curie", "instruments": "[]"},
        **{"environment": "jupyter", "flavour": "small", "backend": "local", "state": "released"},
        **{"hold_seconds": 1, "created_at": 1, "lapses_at": 2, "ended_at": 3},
    }
    rows = [{**one, "session_id": f"{i:016x}"} for i in range(5000)]
    async with engine.begin() as connection:
        await connection.execute(insert(reservations), rows)
        await connection.execute(text("ANALYZE"))
    sums = "SELECT sum(memory) FROM quotas_reservations WHERE ended_at IS NULL AND "
    for column, value in (("person", "amara"), ("proposal", "20180301")):
        explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
        async with engine.connect() as connection:
            plan = str((await connection.execute(text(f"{explain}{sums}{column} IN ('{value}')"))).all())
        assert "ix_quotas_holding" in plan
    assert (await store.quota_of_person("amara", Entitlement(limits=Limits()))).used == Resources()


async def test_a_plan_of_the_first_days_is_not_kept(postgres: Postgres) -> None:
    engine = create_engine(postgres.create_database("grown"))
    await upgrade(engine, "quotas")
    store = QuotaStore(engine, POLICY)

    async def one(person: str) -> None:
        session_id = new_id()
        await store.reserve(session_id, asking(person=person, proposal=f"of-{person}"), ENTITLED)
        await store.release(session_id)

    async def work() -> None:
        # Forty in each transaction: in so small a table PostgreSQL looks for them by reading all of it.
        for _ in range(10):
            await asyncio.gather(*(one(f"p{number}") for number in range(40)))

    await work()
    many = text(
        "INSERT INTO quotas_reservations SELECT 'old' || n, person, proposal, session, environment, flavour, "
        "backend, instruments, machines, millicpus, memory, storage, gpus, expires_at, idle_seconds, "
        "hold_seconds, state, created_at, lapses_at, activated_at, ended_at "
        "FROM (SELECT * FROM quotas_reservations LIMIT 1) AS one, generate_series(1, 20000) AS n"
    )
    async with engine.begin() as connection:
        await connection.execute(many)
    await work()
    seen = text(
        "SELECT n_tup_ins, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'quotas_reservations'"
    )

    async def read_in_full() -> tuple[int] | None:
        # The server tells its statistics a little later.
        async with engine.connect() as connection:
            row = (await connection.execute(seen)).one()
        return (int(row.seq_tup_read),) if row.n_tup_ins >= 20_800 else None

    assert (await wait_for(read_in_full))[0] < 60_000
    await engine.dispose()


async def test_says_that_the_database_is_away(database_url: str, clock: Clock) -> None:
    wrong = "sqlite:////nowhere/quotas.sqlite"
    if database_url.startswith("postgresql"):
        wrong = "postgresql://postgres@127.0.0.1:1/none"
    engine = create_engine(wrong)
    store = QuotaStore(engine, POLICY, clock=clock)
    with pytest.raises(UpstreamUnavailableError):
        await store.reserve(new_id(), asking(), ENTITLED)
    with pytest.raises(UpstreamUnavailableError):
        await store.quota_of_person("amara", ENTITLED)
    await engine.dispose()
