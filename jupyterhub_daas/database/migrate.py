"""Bring a service's tables to the present version.

Each service has its own Alembic versions and its own version table, so that all may share one database.
"""

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine


def version_table(service: str) -> str:
    """Return the name of the table in which Alembic records a service's version."""
    return f"daas_{service}_version"


async def upgrade(engine: AsyncEngine, service: str) -> None:
    """Run the migrations of a service that have not run yet."""
    async with engine.connect() as connection:
        await connection.execution_options(daas_writing=True)
        async with connection.begin():
            await connection.run_sync(_upgrade, service)


def _upgrade(connection: Connection, service: str) -> None:
    with (
        as_file(files("jupyterhub_daas.database").joinpath("alembic")) as environment,
        as_file(files(f"jupyterhub_daas.services.{service}").joinpath("migrations")) as versions,
    ):
        config = Config()
        config.set_main_option("script_location", str(environment))
        config.set_main_option("version_locations", str(versions))
        config.set_main_option("path_separator", "newline")
        config.attributes["connection"] = connection
        config.attributes["version_table"] = version_table(service)
        command.upgrade(config, "head")
