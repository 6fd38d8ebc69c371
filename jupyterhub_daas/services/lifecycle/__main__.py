"""Run the lifecycle service: ``python -m jupyterhub_daas.services.lifecycle``, as the hub does."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.clients.accounts import AccountsClient
from jupyterhub_daas.clients.hub import HubClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.clients.quotas import QuotasClient
from jupyterhub_daas.errors import ConfigurationError, UpstreamUnavailableError
from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.environment import URLS_VARIABLE, ServiceEnvironment
from jupyterhub_daas.services.lifecycle.handlers import ROUTES
from jupyterhub_daas.services.lifecycle.rounds import Rounds
from jupyterhub_daas.services.lifecycle.store import LifecycleStore

# The hub answers an end after up to 10 s; a start that is interrupted takes longer.
HUB_SECONDS = 40.0
# So many intervals, and this on top, may pass without a good round before the service is unhealthy.
MISSED_ROUNDS = 3
PATIENCE = timedelta(seconds=60)


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Join store, clients, rounds and routes."""
    for name in ("quotas", "accounts", "proposals"):
        if name not in environment.service_urls:
            raise ConfigurationError(f"Lifecycle needs the {name} service.", field=URLS_VARIABLE)
    hub = HubClient(environment.hub_api_url, environment.api_token, deadline=HUB_SECONDS)
    quotas = QuotasClient(environment.service_urls["quotas"], environment.api_token)
    accounts = AccountsClient(environment.service_urls["accounts"], environment.api_token)
    proposals = ProposalsClient(environment.service_urls["proposals"], environment.api_token)
    store = LifecycleStore(engine)
    settings = environment.settings.lifecycle
    rounds = Rounds(
        hub=hub, quotas=quotas, accounts=accounts, proposals=proposals, store=store, settings=settings
    )
    limit = MISSED_ROUNDS * timedelta(seconds=settings.interval_seconds) + PATIENCE

    async def recent_round() -> None:
        if rounds.age() > limit:
            raise UpstreamUnavailableError("No round has been good for long.", service="lifecycle")

    return Service(
        routes=[*ROUTES],
        settings={"rounds": rounds, "store": store},
        checks={
            "hub": lambda: hub.call("GET", ""),
            # One is enough to show that it answers: anybody may ask for health.
            "quotas": lambda: quotas.call("GET", "reservations", query={"limit": 1}),
            "accounts": accounts.blocked,
            "rounds": recent_round,
        },
        background=[rounds.keep_running],
        close=[hub.close, quotas.close, accounts.close, proposals.close],
    )


if __name__ == "__main__":
    run("lifecycle", build)
