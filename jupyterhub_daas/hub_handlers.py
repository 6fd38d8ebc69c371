"""The handlers that we add to the hub, below ``/hub``: the spawners' endpoints and the static files."""

from typing import Any

from jupyterhub_daas.services.portal import assets
from jupyterhub_daas.spawners import handlers

HANDLERS: list[tuple[Any, ...]] = [*handlers.HANDLERS, *assets.HANDLERS]
