"""Run the account service: ``python -m jupyterhub_daas.services.accounts``, as the hub does."""

from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.clients.lifecycle import LifecycleClient
from jupyterhub_daas.errors import UpstreamUnavailableError
from jupyterhub_daas.services.accounts.handlers import ROUTES
from jupyterhub_daas.services.accounts.store import AccountsStore
from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.environment import ServiceEnvironment


class NoLifecycle:
    """Stand for a lifecycle service that the facility does not run."""

    async def end_sessions_of(self, username: str, reason: str) -> None:
        """Say that nobody ends sessions here."""
        raise UpstreamUnavailableError("There is no lifecycle service.", service="lifecycle")


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Join store, lifecycle client and routes."""
    store = AccountsStore(engine)
    url = environment.service_urls.get("lifecycle")
    if url is None:
        return Service(routes=[*ROUTES], settings={"store": store, "lifecycle": NoLifecycle()})
    lifecycle = LifecycleClient(url, environment.api_token)
    return Service(
        routes=[*ROUTES], settings={"store": store, "lifecycle": lifecycle}, close=[lifecycle.close]
    )


if __name__ == "__main__":
    run("accounts", build)
