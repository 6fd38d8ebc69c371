"""Run the account service: ``python -m jupyterhub_daas.services.accounts``, as the hub does."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.clients.lifecycle import LifecycleClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.errors import UpstreamUnavailableError
from jupyterhub_daas.services.accounts.audit import AuditStore
from jupyterhub_daas.services.accounts.handlers import ROUTES, EndsSessions
from jupyterhub_daas.services.accounts.store import AccountsStore
from jupyterhub_daas.services.accounts.trail import TRAIL_ROUTES
from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.environment import ServiceEnvironment


class NoLifecycle:
    """Stand for a lifecycle service that the facility does not run."""

    async def end_sessions_of(self, username: str, reason: str) -> None:
        """Say that nobody ends sessions here."""
        raise UpstreamUnavailableError("There is no lifecycle service.", service="lifecycle")


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Join stores, clients and routes; the facility may do without lifecycle and proposals."""
    close: list[Callable[[], Awaitable[None]]] = []
    lifecycle: EndsSessions = NoLifecycle()
    proposals = None
    if url := environment.service_urls.get("lifecycle"):
        lifecycle = client = LifecycleClient(url, environment.api_token)
        close.append(client.close)
    if url := environment.service_urls.get("proposals"):
        proposals = ProposalsClient(url, environment.api_token)
        close.append(proposals.close)
    return Service(
        routes=[*ROUTES, *TRAIL_ROUTES],
        settings={
            "store": AccountsStore(engine),
            "audit": AuditStore(engine),
            "lifecycle": lifecycle,
            "proposals": proposals,
        },
        close=close,
    )


if __name__ == "__main__":
    run("accounts", build)
