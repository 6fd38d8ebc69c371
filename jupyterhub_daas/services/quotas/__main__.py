"""Run the quotas service; the hub starts this."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.clients import AccountsClient, ProposalsClient
from jupyterhub_daas.clients.recorder import AuditRecorder
from jupyterhub_daas.errors import ConfigurationError, NotFoundError
from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.environment import ServiceEnvironment
from jupyterhub_daas.services.quotas.entitlements import Entitlements
from jupyterhub_daas.services.quotas.handlers import ROUTES
from jupyterhub_daas.services.quotas.store import QuotaStore, utc_now

LAPSE_SECONDS = 5.0
NOBODY = "nobody"


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Join store, upstreams and routes."""
    policy = environment.settings.quotas
    accounts = AccountsClient(_url(environment, "accounts"), environment.api_token)
    proposals = ProposalsClient(_url(environment, "proposals"), environment.api_token)
    # A client of its own: the recorder closes it whenever nothing is left to record.
    audit = AuditRecorder(AccountsClient(_url(environment, "accounts"), environment.api_token))
    store = QuotaStore(engine, policy)
    await store.recount()

    async def lapse() -> None:
        await asyncio.sleep(LAPSE_SECONDS)
        await store.lapse()

    async def proposals_answers() -> None:
        try:
            await proposals.person(NOBODY)
        except NotFoundError:
            return

    return Service(
        routes=ROUTES,
        settings={
            "store": store,
            "proposals": proposals,
            "audit": audit,
            "entitlements": Entitlements(policy, accounts, proposals, clock=utc_now),
        },
        checks={"accounts": accounts.conditions, "proposals": proposals_answers},
        background=[lapse],
        close=[audit.close, store.close, accounts.close, proposals.close],
    )


def _url(environment: ServiceEnvironment, name: str) -> str:
    url = environment.service_urls.get(name)
    if url is None:
        raise ConfigurationError(f"The quotas service needs the address of {name}.", field="service_urls")
    return url


if __name__ == "__main__":
    run("quotas", build)
