"""Client of the hub: its REST API, and the endpoints that we add to it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import RootModel

from jupyterhub_daas.clients.base import ServiceClient, segment
from jupyterhub_daas.core.access_requests import AccessRequest
from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.details import SessionDetails, SessionLog
from jupyterhub_daas.core.links import LostIdentity
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.reconciliation import EndCause, HubReport, SessionWarning, SessionWarnings
from jupyterhub_daas.errors import DaasError, NotFoundError, UpstreamUnavailableError


class _Free(RootModel[dict[str, tuple[Availability, ...]]]):
    """What is free, by profile."""


class HubRefusalError(DaasError):
    """What the hub said when it refused a start: `message` is fit for the person."""

    code = "hub_refusal"


class HubClient(ServiceClient):
    """Start and end sessions as a person, or compare them as the lifecycle service."""

    service = "hub"
    root = ""

    async def start(
        self, person: str, session: str, options: dict[str, Any], *, token: str | None = None
    ) -> None:
        """Start a session; raise what the front spawner refused it with."""
        path = f"users/{segment(person)}/servers/{segment(session)}"
        await self.call("POST", path, body={"user_options": options}, token=token)

    async def end(
        self,
        person: str,
        session: str,
        *,
        remove: bool = False,
        cause: EndCause | None = None,
        token: str | None = None,
    ) -> None:
        """End a session; `remove` forgets its name too, `cause` is what lifecycle tells the audit trail."""
        path = f"users/{segment(person)}/servers/{segment(session)}"
        why = {} if cause is None else {"cause": cause.model_dump(mode="json")}
        await self.call("DELETE", path, body={"remove": remove, **why}, token=token)

    async def session(self, person: str, session: str, *, token: str | None = None) -> dict[str, Any] | None:
        """Return the hub's model of one session, or None if it has none of this name."""
        try:
            return dict(
                await self.call("GET", f"users/{segment(person)}/servers/{segment(session)}", token=token)
            )
        except HubRefusalError as error:
            if error.details.get("status") == 404:
                return None
            raise

    async def user(self, person: str, *, token: str | None = None) -> dict[str, Any]:
        """Return the hub's model of a person with all of her sessions."""
        content = await self.call(
            "GET", f"users/{segment(person)}", query={"include_stopped_servers": 1}, token=token
        )
        return dict(content)

    async def details(self, person: str, session: str, *, token: str | None = None) -> SessionDetails:
        """Return what the hub knows of a session, or raise NotFoundError."""
        path = f"daas/sessions/{segment(person)}/{segment(session)}"
        return self.parse(SessionDetails, await self._read_ours(path, token, deadline=10.0))

    async def log(self, person: str, session: str, *, lines: int, token: str | None = None) -> SessionLog:
        """Return the end of a session's own log, for its owner."""
        path = f"daas/sessions/{segment(person)}/{segment(session)}/log"
        content = await self._read_ours(path, token, deadline=15.0, query={"lines": lines})
        return self.parse(SessionLog, content)

    async def free(self, *, token: str | None = None) -> dict[str, tuple[Availability, ...]]:
        """Return what can start now, by profile; at once, or raise UpstreamUnavailableError."""
        return self.parse(_Free, await self._read_ours("daas/free", token, deadline=3.0)).root

    async def _read_ours(
        self, path: str, token: str | None, *, deadline: float, query: Mapping[str, int] | None = None
    ) -> Any:
        try:
            return await self._call_ours(path, method="GET", token=token, deadline=deadline, query=query)
        except HubRefusalError as error:
            if error.details.get("status") in (403, 404):
                raise NotFoundError("There is nothing here for you.") from error
            raise

    async def reconcile(self) -> HubReport:
        """Have the hub remove things without a session, and return its sessions."""
        return self.parse(HubReport, await self._call_ours("daas/reconcile"))

    async def warn(self, warnings: tuple[SessionWarning, ...]) -> None:
        """Have the hub show these warnings on the cards of sessions, in the place of all former ones."""
        await self._call_ours("daas/warnings", body=SessionWarnings(items=warnings))

    async def end_logins(self, person: str, lost: LostIdentity) -> None:
        """End all logins and tokens of a person from whom an identity was taken; twice is harmless."""
        await self._call_ours(f"daas/people/{segment(person)}/end-logins", body=lost)

    async def ask_again(self, person: str) -> None:
        """Have the gate asked at the person's very next request; twice is harmless."""
        await self._call_ours(f"daas/people/{segment(person)}/ask-again")

    async def announce(self, request: AccessRequest) -> None:
        """Have staff told of a request for access that came in or was answered."""
        await self._call_ours("daas/access-requests/announce", body=request)

    async def _call_ours(
        self,
        path: str,
        *,
        method: str = "POST",
        query: Mapping[str, int] | None = None,
        body: Model | None = None,
        token: str | None = None,
        deadline: float = 60.0,
    ) -> Any:
        """Call an endpoint that we add to the hub, beside its own API."""
        parts = urlsplit(self._url)
        base = parts.path.rstrip("/").removesuffix("/api")
        hub = HubClient(urlunsplit(parts._replace(path=base)), self._token, deadline=deadline)
        try:
            return await hub.call(method, path, query=query, body=body, token=token)
        finally:
            await hub.close()

    def _error(self, status: int, content: Any) -> DaasError:
        message = content.get("message") if isinstance(content, dict) else None
        if isinstance(message, str) and status == 503:
            return UpstreamUnavailableError(message, service="hub")
        if isinstance(message, str) and status < 500:
            return HubRefusalError(message, status=status)
        return super()._error(status, content)
