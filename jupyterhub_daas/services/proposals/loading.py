"""Read the directory into the database, in a process of its own: a large one takes minutes of a processor.

An order comes in on standard input, an outcome goes out on standard output; both are one line of JSON. The
order is not on the command line because a database's address may hold a password.
"""

import asyncio
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.errors import ConfigurationError, UpstreamUnavailableError
from jupyterhub_daas.services.parent import die_with_parent
from jupyterhub_daas.services.proposals.connectors.base import Connector, DirectoryError
from jupyterhub_daas.services.proposals.connectors.file import FileConnector
from jupyterhub_daas.services.proposals.indexing import complete_index
from jupyterhub_daas.services.proposals.roots import Roots
from jupyterhub_daas.services.proposals.rows import FORM
from jupyterhub_daas.services.proposals.snapshots import write_snapshot


class Order(Model):
    """What to read, and where to; all paths are absolute."""

    database_url: str
    connector: str
    file: str | None
    roots: tuple[str, ...]

    def fingerprint(self) -> str:
        """Return a text that differs when another snapshot may come of this order."""
        source = make_connector(self).fingerprint()
        return json.dumps([FORM, self.connector, source, self.roots])


class Outcome(Model):
    """What came of an order: how many entries changed, what is wrong with the directory, or who is away."""

    changes: int = 0
    away: str | None = None
    error: str | None = None
    line: int | None = None


def make_connector(order: Order) -> Connector:
    """Return the connector that the settings name."""
    roots = Roots(map(Path, order.roots))
    if order.connector != "file":
        raise ConfigurationError(
            f"directory.connector: there is no connector {order.connector!r}; there is 'file'.",
            field="directory.connector",
        )
    if order.file is None:
        raise ConfigurationError("directory.file: the connector 'file' needs one.", field="directory.file")
    return FileConnector(Path(order.file), roots)


async def load(order: Order) -> Outcome:
    """Read everything, then write it."""
    engine = create_engine(order.database_url)
    try:
        # If the directory can't be read, what is there stays in use: with all that belongs to it.
        await complete_index(engine)
        # Taken before reading: what is written meanwhile makes another one.
        fingerprint = order.fingerprint()
        snapshot = make_connector(order).read()
        now = datetime.now(timezone.utc)
        return Outcome(changes=await write_snapshot(engine, snapshot, fingerprint=fingerprint, read_at=now))
    except DirectoryError as error:
        return Outcome(error=error.message, line=error.line)
    except UpstreamUnavailableError as error:
        return Outcome(away=error.message)
    finally:
        await engine.dispose()


def main() -> None:
    """Do what standard input says."""
    die_with_parent()
    outcome = asyncio.run(load(Order.model_validate_json(sys.stdin.read())))
    sys.stdout.write(outcome.model_dump_json() + "\n")


if __name__ == "__main__":
    main()
