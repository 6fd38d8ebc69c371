"""What pages may know of a session without asking anybody: all from the hub's memory."""

from dataclasses import dataclass
from datetime import datetime

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.spawners.records import Record


@dataclass(frozen=True)
class SessionView:
    """One session for a template; `state` is one of starting, running, stopping, stopped.

    `waiting` says where it stands in the line; `note` is what the person is to know of its end.
    """

    name: str
    session_id: str
    proposal: str
    environment: str
    flavour: str
    backend: str
    state: str
    created: datetime | None
    expires_at: datetime | None
    waiting: str = ""
    note: str = ""


def view_of(record: Record, catalogue: Catalogue, *, name: str, state: str, waiting: str = "") -> SessionView:
    """Return a session's view; what the catalogue no longer offers is called by its key."""
    environment = catalogue.environments.get(record.environment)
    flavour = catalogue.flavours.get(record.flavour)
    return SessionView(
        name=name,
        session_id=record.session_id,
        proposal=record.proposal,
        environment=environment.title if environment else record.environment,
        flavour=flavour.title if flavour else record.flavour,
        backend=record.backend,
        state=state,
        created=record.created,
        expires_at=record.expires_at,
        waiting=waiting,
        note=record.note,
    )
