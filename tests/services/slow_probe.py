"""A service that does not come up; with the file `deaf` in its folder it does so once it is interrupted."""

import asyncio
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.environment import ServiceEnvironment

FOLDER = Path.cwd()


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Say that it is coming up, and wait."""
    (FOLDER / "coming-up").touch()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not (FOLDER / "deaf").exists():
            raise
    return Service(routes=[])


if __name__ == "__main__":
    run("accounts", build)
