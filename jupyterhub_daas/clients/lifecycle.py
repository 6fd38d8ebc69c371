"""Client of the lifecycle API."""

from jupyterhub_daas.clients.base import ServiceClient, segment


class LifecycleClient(ServiceClient):
    """Ending sessions."""

    service = "lifecycle"

    async def end_sessions_of(self, username: str, reason: str) -> None:
        """End all sessions of a person."""
        await self.call("POST", f"people/{segment(username)}/end", body={"reason": reason})
