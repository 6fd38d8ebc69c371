"""Run the proposals service: ``python -m jupyterhub_daas.services.proposals``, as the hub does."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.environment import ServiceEnvironment
from jupyterhub_daas.services.proposals.handlers import ROUTES
from jupyterhub_daas.services.proposals.loading import Order, make_connector
from jupyterhub_daas.services.proposals.roots import Roots
from jupyterhub_daas.services.proposals.store import DirectoryStore
from jupyterhub_daas.services.proposals.watching import DirectoryWatch


def order_of(environment: ServiceEnvironment) -> Order:
    """Return what the settings say of the directory; its paths are relative to the settings file."""
    directory, base = environment.settings.directory, environment.settings_path.parent
    return Order(
        database_url=environment.database_url,
        connector=directory.connector,
        file=None if directory.file is None else str(base / directory.file),
        roots=tuple(str(base / root) for root in directory.roots),
    )


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Join store, watch and routes; refuse to start if there is no such connector."""
    order = order_of(environment)
    make_connector(order)
    store = DirectoryStore(engine)
    watch = DirectoryWatch(order, store)
    return Service(
        routes=[*ROUTES],
        settings={"store": store, "roots": Roots(map(Path, order.roots))},
        checks={"directory": watch.check},
        background=[watch.watch],
    )


if __name__ == "__main__":
    run("proposals", build)
