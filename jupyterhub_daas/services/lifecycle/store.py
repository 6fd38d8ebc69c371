"""What is kept of endings and of lost memberships."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.proposals import Membership
from jupyterhub_daas.core.reconciliation import EndReason
from jupyterhub_daas.database.engine import answering, writing
from jupyterhub_daas.services.lifecycle.models import RecordedEnding
from jupyterhub_daas.services.lifecycle.tables import endings, losses

SHOWN = 20


class LifecycleStore:
    """Create, list and delete endings, and note losses."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create_ending(self, ending: RecordedEnding) -> None:
        """Record an ending, in the place of a former try to end the same session."""
        async with writing(self._engine) as connection:
            await connection.execute(delete(endings).filter_by(session_id=ending.session_id))
            await connection.execute(
                insert(endings).values({**ending.model_dump(), "reason": ending.reason.value})
            )

    async def delete_ending(self, session_id: str) -> None:
        """Forget an ending that did not come about."""
        async with writing(self._engine) as connection:
            await connection.execute(delete(endings).filter_by(session_id=session_id))

    async def list_endings(self, person: str, *, since: datetime) -> tuple[RecordedEnding, ...]:
        """Return the endings of a person's sessions, the latest first."""
        query = (
            select(endings)
            .where(endings.c.person == person, endings.c.at >= since)
            .order_by(endings.c.at.desc(), endings.c.session_id)
            .limit(SHOWN)
        )
        with answering():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(query)).all()
        return tuple(
            RecordedEnding(
                session_id=row.session_id,
                person=row.person,
                session=row.session,
                reason=EndReason(row.reason),
                at=row.at,
            )
            for row in rows
        )

    async def note_losses(self, lost: Collection[Membership], *, now: datetime) -> dict[Membership, datetime]:
        """Keep since when memberships are lost; what is not among them any more is forgotten."""
        async with writing(self._engine) as connection:
            known = {
                Membership(username=row.person, proposal=row.proposal): row.since
                for row in await connection.execute(select(losses))
            }
            for gone in known.keys() - set(lost):
                key = {"person": gone.username, "proposal": gone.proposal}
                await connection.execute(delete(losses).filter_by(**key))
            new = [each for each in lost if each not in known]
            if new:
                rows = [{"person": each.username, "proposal": each.proposal, "since": now} for each in new]
                await connection.execute(insert(losses), rows)
        return {each: known.get(each, now) for each in lost}

    async def delete_older(self, moment: datetime) -> None:
        """Delete the endings from before a moment: the lasting record are the reservations."""
        async with writing(self._engine) as connection:
            await connection.execute(delete(endings).where(endings.c.at < moment))
