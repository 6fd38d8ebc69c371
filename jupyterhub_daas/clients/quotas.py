"""Client of the quota API."""

from datetime import datetime

from jupyterhub_daas.clients.base import ServiceClient, segment
from jupyterhub_daas.core.proposals import Page
from jupyterhub_daas.core.quota import Quota
from jupyterhub_daas.core.reservations import Reservation, ReservationRequest, ReservationState


class QuotasClient(ServiceClient):
    """Limits, usage and reservations."""

    service = "quotas"

    async def quota_of_person(self, username: str, *, token: str | None = None) -> Quota:
        """Return a person's quota."""
        return self.parse(Quota, await self.call("GET", f"people/{segment(username)}/quota", token=token))

    async def quota_of_proposal(self, identifier: str, *, token: str | None = None) -> Quota:
        """Return the quota of all sessions of a proposal together."""
        content = await self.call("GET", f"proposals/{segment(identifier)}/quota", token=token)
        return self.parse(Quota, content)

    async def reserve(self, session_id: str, request: ReservationRequest) -> Reservation:
        """Hold resources for a session, or raise QuotaExceededError or ConflictError."""
        content = await self.call("PUT", f"reservations/{segment(session_id)}", body=request)
        return self.parse(Reservation, content)

    async def activate(self, session_id: str) -> Reservation:
        """Say that the session runs."""
        content = await self.call(
            "PATCH", f"reservations/{segment(session_id)}", body={"state": ReservationState.ACTIVE.value}
        )
        return self.parse(Reservation, content)

    async def prolong(self, session_id: str, expires_at: datetime | None) -> Reservation:
        """Hold on for a session that waits for its turn; `expires_at`: when it would end if it began now."""
        body = {
            "state": ReservationState.HELD.value,
            "expires_at": None if expires_at is None else expires_at.isoformat(),
        }
        return self.parse(
            Reservation, await self.call("PATCH", f"reservations/{segment(session_id)}", body=body)
        )

    async def release(self, session_id: str) -> None:
        """Let go of what a session held; doing so twice is harmless."""
        await self.call("DELETE", f"reservations/{segment(session_id)}")

    async def reservations(
        self,
        *,
        person: str | None = None,
        proposal: str | None = None,
        states: tuple[ReservationState, ...] = (ReservationState.HELD, ReservationState.ACTIVE),
        token: str | None = None,
    ) -> Page[Reservation]:
        """Return reservations; without `person` that needs the scope to read all quotas."""
        content = await self.call(
            "GET",
            "reservations",
            query={
                "person": person,
                "proposal": proposal,
                "state": ",".join(state.value for state in states),
            },
            token=token,
        )
        return self.parse(Page[Reservation], content)
