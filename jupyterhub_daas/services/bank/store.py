"""What is kept of the bank's machines. Each change is one transaction that nothing comes between.

A machine is recorded before it is made and forgotten after it is gone, so whatever dies on the way, what
there is can be found from either side.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Row, delete, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.core.bank import (
    Banked,
    BankPlace,
    BankRule,
    Claim,
    MachineState,
    Tended,
    decide_bank,
    is_good,
)
from jupyterhub_daas.database.engine import answering, writing
from jupyterhub_daas.errors import ConflictError, NotFoundError, UnknownProfileError
from jupyterhub_daas.services.bank.tables import lock, machines

columns = machines.c


def utc_now() -> datetime:
    """Return the moment."""
    return datetime.now(timezone.utc)


class BankStore:
    """Record, give away and forget machines, by the rules of their profiles."""

    def __init__(
        self, engine: AsyncEngine, rules: Mapping[str, BankRule], clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._engine, self._rules, self._clock = engine, rules, clock

    async def list_machines(self, hub: str) -> tuple[Banked, ...]:
        """Return all machines of a hub, those that end included."""
        with answering():
            async with self._engine.connect() as connection:
                return await _read(connection, columns.hub == hub)

    async def list_all(self) -> tuple[Banked, ...]:
        """Return the machines of all hubs."""
        with answering():
            async with self._engine.connect() as connection:
                return await _read(connection, true())

    async def tend(self, place: BankPlace) -> Tended:
        """Have machines end that are not to be kept, and record those that are to be made."""
        rule = self._rule_of(place.profile)
        async with writing(self._engine) as connection:
            now = await self._locked(connection)
            there = await _read(connection, _of(place))
            plan = decide_bank(rule, place.image, there, now)
            for machine_id in plan.end:
                await _set(connection, machine_id, state=MachineState.ENDING.value)
            made = tuple(
                Banked(machine_id=secrets.token_hex(8), profile=place.profile, image=place.image, made_at=now)
                for _ in range(plan.make)
            )
            if made:
                await connection.execute(insert(machines), [_row(each, place.hub) for each in made])
        return Tended(ended=plan.end, made=made)

    async def claim(self, place: BankPlace, session_id: str) -> Claim:
        """Give an idle machine to a session, and to no other; the same again if it asks again."""
        rule = self._rule_of(place.profile)
        async with writing(self._engine) as connection:
            now = await self._locked(connection)
            there = await _read(connection, _of(place))
            for machine in there:
                if machine.session_id == session_id and machine.state is MachineState.CLAIMED:
                    return Claim(machine=machine)
            idle = [each for each in there if each.state is MachineState.IDLE]
            good = [each for each in idle if is_good(each, rule, place.image, now)]
            if not good:
                return Claim(machine=None)
            # The oldest one first: it would be the next to be too old.
            chosen = min(good, key=lambda each: (each.made_at, each.machine_id))
            given = {"state": MachineState.CLAIMED.value, "claimed_at": now, "session_id": session_id}
            await _set(connection, chosen.machine_id, **given)
        return Claim(machine=chosen.model_copy(update={**given, "state": MachineState.CLAIMED}), fresh=True)

    async def ready(self, machine_id: str) -> Banked:
        """Note that a machine is up; one that is claimed or ends stays what it is."""
        async with writing(self._engine) as connection:
            now = await self._locked(connection)
            found = await _one(connection, machine_id)
            if found.state is MachineState.BUILDING:
                await _set(connection, machine_id, state=MachineState.IDLE.value, idle_at=now)
            return await _one(connection, machine_id)

    async def end(self, machine_id: str) -> Banked:
        """Have a machine end, whatever it is now: it is never given to anybody after that."""
        async with writing(self._engine) as connection:
            await self._locked(connection)
            await _one(connection, machine_id)
            await _set(connection, machine_id, state=MachineState.ENDING.value)
            return await _one(connection, machine_id)

    async def forget(self, machine_id: str) -> None:
        """Forget a machine that is gone; refuse one that was not to end."""
        async with writing(self._engine) as connection:
            await self._locked(connection)
            found = await _read(connection, columns.machine_id == machine_id)
            if any(each.state is not MachineState.ENDING for each in found):
                raise ConflictError("Only a machine that was to end can be forgotten.")
            await connection.execute(delete(machines).where(columns.machine_id == machine_id))

    async def _locked(self, connection: AsyncConnection) -> datetime:
        await connection.execute(select(lock).with_for_update())
        # Only now: whoever waited must not decide as of before.
        return self._clock()

    def _rule_of(self, profile: str) -> BankRule:
        rule = self._rules.get(profile)
        if rule is None:
            raise UnknownProfileError(f"The bank has no rule for profile '{profile}'.", field="profile")
        return rule


def _of(place: BankPlace) -> Any:
    return (columns.hub == place.hub) & (columns.profile == place.profile)


async def _read(connection: AsyncConnection, where: Any) -> tuple[Banked, ...]:
    found = select(machines).where(where).order_by(columns.made_at, columns.machine_id)
    return tuple(_machine(row) for row in await connection.execute(found))


async def _one(connection: AsyncConnection, machine_id: str) -> Banked:
    for machine in await _read(connection, columns.machine_id == machine_id):
        return machine
    raise NotFoundError("There is no such machine in the bank.")


async def _set(connection: AsyncConnection, machine_id: str, **values: object) -> None:
    await connection.execute(update(machines).where(columns.machine_id == machine_id).values(**values))


def _machine(row: Row[Any]) -> Banked:
    return Banked(**{name: getattr(row, name) for name in Banked.model_fields})


def _row(machine: Banked, hub: str) -> dict[str, object]:
    return {**machine.model_dump(), "state": machine.state.value, "hub": hub}
