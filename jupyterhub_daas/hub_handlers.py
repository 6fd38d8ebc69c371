"""The handlers that we add to the hub, below ``/hub``: the spawners' endpoints, two of the hub's own that
we extend, and the static files."""

import gc
from typing import Any

from jupyterhub_daas import asked_scopes
from jupyterhub_daas.errors import ConfigurationError
from jupyterhub_daas.services.portal import assets
from jupyterhub_daas.spawners import details, endings, handlers
from jupyterhub_daas.spawners.backends.batch import callback as jobs
from jupyterhub_daas.spawners.backends.machines import callback as machines


def handlers_for(app: Any) -> list[tuple[Any, ...]]:
    """Return the handlers for a hub that starts; a wrong configuration of the spawner ends it here."""
    try:
        handlers.check_configuration(app.config)
    except ConfigurationError as error:
        app.log.critical("The configuration is wrong: %s", error)
        app.exit(1)
    # What there is by now stays for good. To search it for what nobody needs any more would hold everybody up
    # for a sixth of a second each time.
    gc.collect()
    gc.freeze()
    sessions = [*handlers.HANDLERS, *details.HANDLERS, *endings.HANDLERS]
    calls = [*jobs.HANDLERS, *machines.HANDLERS]
    return [*sessions, *calls, *asked_scopes.HANDLERS, *assets.HANDLERS]
