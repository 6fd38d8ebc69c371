"""Overrides: in place of the policy, for a time, on record."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.quota import OverrideRequest, QuotaScope
from jupyterhub_daas.core.resources import Limits
from jupyterhub_daas.errors import QuotaExceededError
from jupyterhub_daas.services.quotas.overrides import create_override, delete_override, list_overrides
from jupyterhub_daas.services.quotas.store import QuotaStore
from jupyterhub_daas.services.quotas.tables import overrides
from tests.services.quotas.support import DEFAULT, ENTITLED, POLICY, Clock, asking, new_id

PERSON, PROPOSAL = QuotaScope.PERSON, QuotaScope.PROPOSAL


async def record(store: QuotaStore, clock: Clock, scope: QuotaScope, key: str, **given: object) -> bool:
    request = OverrideRequest.model_validate({"reason": "beamtime", **given})
    _, created = await create_override(store.engine, scope, key, request, by="sofia", now=clock())
    return created


async def test_changes_what_it_names_and_nothing_else(store: QuotaStore, clock: Clock) -> None:
    await record(store, clock, PERSON, "amara", limits={"machines": 7, "memory": None})
    limits = (await store.quota_of_person("amara", ENTITLED)).limits
    assert limits.model_dump() == DEFAULT.merged(Limits(machines=7, memory=None)).model_dump()
    assert (await store.quota_of_person("bruno", ENTITLED)).limits == DEFAULT


async def test_counts_in_decisions_at_once(store: QuotaStore, clock: Clock) -> None:
    for _ in range(5):
        await store.reserve(new_id(), asking(), ENTITLED)
    await record(store, clock, PERSON, "amara", limits={"machines": 6})
    await store.reserve(new_id(), asking(), ENTITLED)
    await record(store, clock, PROPOSAL, "20180301", limits={"machines": 6})
    await record(store, clock, PERSON, "amara", limits={"machines": None})
    with pytest.raises(QuotaExceededError) as refused:
        await store.reserve(new_id(), asking(), ENTITLED)
    assert refused.value.details["scope"] == "proposal"


async def test_an_expired_one_counts_no_longer(store: QuotaStore, clock: Clock) -> None:
    ends = clock() + timedelta(hours=1)
    await record(store, clock, PROPOSAL, "20180301", limits={"machines": 0}, expires_at=ends)
    with pytest.raises(QuotaExceededError):
        await store.reserve(new_id(), asking(), ENTITLED)
    clock.go_on(hours=1)
    await store.reserve(new_id(), asking(), ENTITLED)
    assert (await store.quota_of_proposal("20180301")).limits == POLICY.proposal_default
    # It is still on the list, until somebody removes it.
    assert (await list_overrides(store.engine)).total == 1


async def test_a_key_of_a_person_is_none_of_a_proposal(store: QuotaStore, clock: Clock) -> None:
    await record(store, clock, PROPOSAL, "amara", limits={"machines": 0})
    assert (await store.quota_of_person("amara", ENTITLED)).limits == DEFAULT


async def test_replacing_and_removing_leave_a_record(
    store: QuotaStore, engine: AsyncEngine, clock: Clock
) -> None:
    assert await record(store, clock, PERSON, "amara", limits={"machines": 7}) is True
    assert await record(store, clock, PERSON, "amara", limits={"machines": 8}) is False
    page = await list_overrides(engine)
    assert [(item.key, item.limits.machines, item.recorded_by) for item in page.items] == [
        ("amara", 8, "sofia")
    ]
    assert page.items[0].recorded_at == clock()
    for _ in range(2):
        await delete_override(engine, PERSON, "amara", by="chiara", now=clock())
    assert (await list_overrides(engine)).total == 0
    assert (await store.quota_of_person("amara", ENTITLED)).limits == DEFAULT
    async with engine.connect() as connection:
        who = select(overrides.c.removed_by).order_by(overrides.c.id)
        assert list((await connection.execute(who)).scalars()) == ["sofia", "chiara"]


async def test_many_at_once_leave_one(store: QuotaStore, engine: AsyncEngine, clock: Clock) -> None:
    records = [record(store, clock, PERSON, "amara", limits={"machines": i}) for i in range(10)]
    assert sorted(await asyncio.gather(*records)) == [False] * 9 + [True]
    async with engine.connect() as connection:
        query = select(func.count()).select_from(overrides)
        assert (await connection.execute(query)).scalar_one() == 10
    assert (await list_overrides(engine)).total == 1
