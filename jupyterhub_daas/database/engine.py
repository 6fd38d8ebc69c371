"""Engines for the services' own data: SQLite in WAL mode by default, PostgreSQL in production.

On SQLite a transaction made with `writing` holds the write lock from its beginning, so that no other writer
comes between a check and the change that follows it; on PostgreSQL the stores lock rows.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeftError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from jupyterhub_daas.errors import ConfigurationError, UpstreamUnavailableError

BUSY_MILLISECONDS = 20_000
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


def asynchronous_url(url: str) -> str:
    """Return the URL with its asynchronous driver; refuse a database that the stores are not tested on."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            "The database URL can't be read. Examples: sqlite:////path/daas.sqlite, postgresql://host/daas.",
            field="database_url",
        ) from None
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise ConfigurationError(
            f"No store for database {parsed.get_backend_name()!r}: use sqlite or postgresql.",
            field="database_url",
        )
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def create_engine(url: str) -> AsyncEngine:
    """Return an engine for a database URL with or without driver."""
    asynchronous = asynchronous_url(url)
    if not asynchronous.startswith("sqlite"):
        return create_async_engine(
            asynchronous,
            pool_size=20,
            max_overflow=20,
            pool_pre_ping=True,
            # A plan made while a table was small, and kept, would go on reading all of it once it has grown.
            connect_args={"server_settings": {"plan_cache_mode": "force_custom_plan"}},
        )
    engine = create_async_engine(asynchronous)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that writes; on SQLite it holds the one write lock from its beginning."""
    with answering():
        async with engine.connect() as connection:
            await connection.execution_options(daas_writing=True)
            async with connection.begin():
                yield connection


@contextmanager
def answering() -> Iterator[None]:
    """Say UpstreamUnavailableError when the database is away; what is our own fault stays as it is."""
    try:
        yield
    except Exception as error:
        if not _is_away(error):
            raise
        raise UpstreamUnavailableError(
            "The database does not answer. Please try again in a minute.", service="database"
        ) from error


def _is_away(error: Exception) -> bool:
    if isinstance(error, (OperationalError, InterfaceError, NoConnectionLeftError, OSError)):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # PostgreSQL's classes of errors: connection, too few resources, shut down or starting, system. What it
    # says while a connection is made comes as the driver's own error.
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return isinstance(state, str) and state[:2] in ("08", "53", "57", "58")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: _begin_sqlite says which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
    except sqlite3.OperationalError as error:
        raise ConfigurationError(
            "The SQLite database can't be opened for writing.", field="database_url"
        ) from error
    finally:
        cursor.close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("daas_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
