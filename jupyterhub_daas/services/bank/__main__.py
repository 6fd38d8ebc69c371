"""Run the bank service: ``python -m jupyterhub_daas.services.bank``, as the hub does."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.bank.handlers import ROUTES
from jupyterhub_daas.services.bank.metrics import show_machines
from jupyterhub_daas.services.bank.store import BankStore
from jupyterhub_daas.services.environment import ServiceEnvironment

COUNT_SECONDS = 5.0


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Join store and routes."""
    rules = environment.settings.bank
    store = BankStore(engine, rules)

    async def count() -> None:
        show_machines(rules, await store.list_all())
        await asyncio.sleep(COUNT_SECONDS)

    return Service(routes=ROUTES, settings={"store": store}, background=[count])


if __name__ == "__main__":
    run("bank", build)
