"""Run the account service: ``python -m jupyterhub_daas.services.accounts``, as the hub does."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.clients.hub import HubClient
from jupyterhub_daas.clients.lifecycle import LifecycleClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.core.access_requests import AccessRequest
from jupyterhub_daas.core.links import LostIdentity
from jupyterhub_daas.errors import UpstreamUnavailableError
from jupyterhub_daas.services.accounts.access_requests import RequestStore
from jupyterhub_daas.services.accounts.asking import ASKING_ROUTES
from jupyterhub_daas.services.accounts.audit import AuditStore
from jupyterhub_daas.services.accounts.entitled import EntitledStore
from jupyterhub_daas.services.accounts.errands import CarryOut, ErrandKind, Errands, Payload
from jupyterhub_daas.services.accounts.handlers import ROUTES, EndsSessions
from jupyterhub_daas.services.accounts.identities import IdentityStore
from jupyterhub_daas.services.accounts.linking import LINKING_ROUTES
from jupyterhub_daas.services.accounts.store import AccountsStore
from jupyterhub_daas.services.accounts.trail import TRAIL_ROUTES
from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.environment import ServiceEnvironment


class NoLifecycle:
    """Stand for a lifecycle service that the facility does not run."""

    async def end_sessions_of(self, username: str, reason: str) -> None:
        """Say that nobody ends sessions here."""
        raise UpstreamUnavailableError("There is no lifecycle service.", service="lifecycle")


def ways(hub: HubClient, lifecycle: EndsSessions) -> dict[ErrandKind, CarryOut]:
    """Return how each kind of errand is carried out."""

    async def end_logins(payload: Payload) -> None:
        await hub.end_logins(payload["username"], LostIdentity.model_validate(payload["lost"]))

    async def end_sessions(payload: Payload) -> None:
        # Without such a service the sessions end by themselves or by staff: there is nobody to wait for.
        if not isinstance(lifecycle, NoLifecycle):
            await lifecycle.end_sessions_of(payload["username"], "unlinked")

    async def notify(payload: Payload) -> None:
        await hub.announce(AccessRequest.model_validate(payload["request"]))

    async def ask_again(payload: Payload) -> None:
        await hub.ask_again(payload["username"])

    return {
        ErrandKind.ASK_AGAIN: ask_again,
        ErrandKind.END_LOGINS: end_logins,
        ErrandKind.END_SESSIONS: end_sessions,
        ErrandKind.NOTIFY: notify,
    }


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Join stores, clients and routes; the facility may do without lifecycle and proposals."""
    hub = HubClient(environment.hub_api_url, environment.api_token)
    close: list[Callable[[], Awaitable[None]]] = [hub.close]
    lifecycle: EndsSessions = NoLifecycle()
    proposals = None
    if url := environment.service_urls.get("lifecycle"):
        lifecycle = client = LifecycleClient(url, environment.api_token)
        close.append(client.close)
    if url := environment.service_urls.get("proposals"):
        proposals = ProposalsClient(url, environment.api_token)
        close.append(proposals.close)
    rules = environment.settings.identities
    errands = Errands(engine, ways(hub, lifecycle))
    identities = IdentityStore(engine, sessions=rules.sessions_when_unlinked)
    return Service(
        routes=[*ROUTES, *TRAIL_ROUTES, *LINKING_ROUTES, *ASKING_ROUTES],
        settings={
            "store": AccountsStore(engine),
            "audit": AuditStore(engine),
            "identities": identities,
            "entitled": EntitledStore(engine, identities, hours=rules.entitled_hours),
            "requests": RequestStore(engine, identities),
            "errands": errands,
            "lifecycle": lifecycle,
            "proposals": proposals,
        },
        background=[errands.keep_running],
        close=close,
    )


if __name__ == "__main__":
    run("accounts", build)
