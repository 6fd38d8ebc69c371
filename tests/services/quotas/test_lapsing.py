"""Reservations that were held and never made active."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.reservations import HOLDING, ReservationState
from jupyterhub_daas.core.resources import Resources
from jupyterhub_daas.errors import (
    QuotaExceededError,
)
from jupyterhub_daas.services.quotas.store import QuotaStore
from tests.services.quotas.support import (
    ALL,
    ENTITLED,
    SMALL,
    Clock,
    asking,
    entitled,
    held,
    new_id,
    outcome,
    state_of,
)


async def test_counts_no_longer_even_before_it_is_written_down(store: QuotaStore, clock: Clock) -> None:
    session_id = new_id()
    await store.reserve(session_id, asking(hold_seconds=60), ENTITLED)
    clock.go_on(seconds=59)
    assert (await store.quota_of_person("amara", ENTITLED)).used.machines == 1
    clock.go_on(seconds=1)
    assert (await store.quota_of_person("amara", ENTITLED)).used == Resources()
    assert await state_of(store, session_id) is ReservationState.LAPSED
    holding = await store.reservations(person="amara", proposal=None, states=HOLDING, offset=0, limit=None)
    assert holding.total == 0


async def test_makes_room_for_the_next_one(store: QuotaStore, clock: Clock, engine: AsyncEngine) -> None:
    for _ in range(5):
        await store.reserve(new_id(), asking(hold_seconds=60), ENTITLED)
    assert await outcome(store, asking()) == "quota_exceeded"
    clock.go_on(seconds=60)
    assert await outcome(store, asking()) == "created"
    kept, counted = await held(engine)
    assert kept == counted == SMALL


async def test_is_written_down_without_any_request(
    store: QuotaStore, clock: Clock, engine: AsyncEngine
) -> None:
    session_id = new_id()
    reserved = await store.reserve(session_id, asking(hold_seconds=60), ENTITLED)
    clock.go_on(seconds=3600)
    await store.lapse()
    kept, counted = await held(engine)
    assert kept == counted == Resources()
    page = await store.reservations(person=None, proposal=None, states=ALL, offset=0, limit=None)
    # It ended when it lapsed, not when that was noticed.
    assert page.items[0].ended_at == reserved.reservation.created_at + timedelta(seconds=60)


async def test_leaves_active_ones_alone(store: QuotaStore, clock: Clock) -> None:
    session_id = new_id()
    await store.reserve(session_id, asking(hold_seconds=60), ENTITLED)
    await store.activate(session_id, entitled)
    clock.go_on(days=30)
    await store.lapse()
    assert await state_of(store, session_id) is ReservationState.ACTIVE


async def test_a_session_that_comes_up_late_gets_its_resources_if_they_are_free(
    store: QuotaStore, clock: Clock, engine: AsyncEngine
) -> None:
    session_id = new_id()
    await store.reserve(session_id, asking(hold_seconds=60), ENTITLED)
    clock.go_on(seconds=61)
    reservation = await store.activate(session_id, entitled)
    assert (reservation.state, reservation.ended_at) == (ReservationState.ACTIVE, None)
    kept, counted = await held(engine)
    assert kept == counted == SMALL


async def test_and_is_refused_if_another_has_them(store: QuotaStore, clock: Clock) -> None:
    session_id = new_id()
    await store.reserve(session_id, asking(hold_seconds=60), ENTITLED)
    clock.go_on(seconds=61)
    for _ in range(5):
        await store.reserve(new_id(), asking(), ENTITLED)
    with pytest.raises(QuotaExceededError):
        await store.activate(session_id, entitled)
    assert await state_of(store, session_id) is ReservationState.LAPSED


async def test_its_id_is_not_used_again(store: QuotaStore, clock: Clock) -> None:
    session_id = new_id()
    await store.reserve(session_id, asking(hold_seconds=60), ENTITLED)
    clock.go_on(seconds=60)
    assert await outcome(store, asking(hold_seconds=60), session_id) == "conflict"
