"""Whether a service's migrations make exactly the tables that its code declares."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.database.migrate import version_table


async def differences(engine: AsyncEngine, service: str, metadata: MetaData) -> list[object]:
    """Return what a new migration would have to change."""

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": version_table(service)})
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        return await connection.run_sync(compare)
