"""A person's sessions as the hub's memory shows them: the only data of the sessions page.

Rows of sessions that do not run carry options nobody has checked: only what the catalogue knows is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.core.names import IDENTIFIER, matches
from jupyterhub_daas.core.reconciliation import SessionWarning

TONES = {"running": "is-ok", "starting": "is-warn", "stopping": "is-warn", "failed": "is-danger"}


@dataclass(frozen=True)
class Card:
    """One session for the page."""

    name: str
    state: str
    url: str
    pending_url: str
    proposal: str | None = None
    environment: str | None = None
    flavour: str | None = None
    created: datetime | None = None
    expires_at: datetime | None = None
    last_activity: datetime | None = None
    warning: SessionWarning | None = None
    waiting: str = ""
    note: str = ""

    @property
    def tone(self) -> str:
        """Return the class of the state's colour."""
        return TONES.get(self.state, "")

    @property
    def ready(self) -> bool:
        """Tell whether it can be entered."""
        return self.state == "running"

    @property
    def starting(self) -> bool:
        """Tell whether it is on its way up."""
        return self.state == "starting"

    @property
    def stopping(self) -> bool:
        """Tell whether it is on its way down."""
        return self.state == "stopping"

    @property
    def active(self) -> bool:
        """Tell whether it holds anything."""
        return self.state in ("running", "starting", "stopping")


def cards_of(user: Any, catalogue: Catalogue, hub: str) -> tuple[Card, ...]:
    """Return the named sessions of a user of the hub: running ones first, then by name."""
    cards = [card_of(user, spawner, catalogue, hub) for spawner in user.all_spawners(include_default=False)]
    return tuple(sorted(cards, key=lambda card: (not card.active, card.name)))


def card_of(user: Any, spawner: Any, catalogue: Catalogue, hub: str) -> Card:
    """Return one session; `spawner` is a live one, or the row of one that does not run."""
    name = str(spawner.name)
    known = _known_options(getattr(spawner, "user_options", None), catalogue)
    live = getattr(spawner, "session", None)
    place = f"{quote(user.name, safe='@')}/{quote(name, safe='')}"
    return Card(
        name=name,
        state=_state(spawner),
        url=str(user.server_url(name)),
        pending_url=f"{hub}spawn-pending/{place}",
        proposal=getattr(live, "proposal", None) or known.get("proposal"),
        environment=getattr(live, "environment", None) or known.get("environment"),
        flavour=getattr(live, "flavour", None) or known.get("flavour"),
        created=getattr(live, "created", None) or getattr(spawner, "started", None) or _started(spawner),
        expires_at=getattr(live, "expires_at", None),
        last_activity=getattr(spawner, "last_activity", None),
        warning=_warning(spawner, live),
        waiting=getattr(live, "waiting", ""),
        note=getattr(live, "note", "") if live else _kept_note(getattr(spawner, "state", None)),
    )


def _warning(spawner: Any, live: Any) -> SessionWarning | None:
    # The hub keeps the spawner for the next session of the same name: a warning is for one of them.
    warning: SessionWarning | None = getattr(spawner, "warning", None)
    ours = warning is not None and warning.session_id == getattr(live, "session_id", None)
    return warning if ours else None


def _state(spawner: Any) -> str:
    pending = getattr(spawner, "pending", None)
    if pending in ("spawn", "check"):
        return "starting"
    if pending == "stop":
        return "stopping"
    if getattr(spawner, "ready", False):
        return "running"
    if getattr(spawner, "_failed", False):
        return "failed"
    return "stopped"


def _kept_note(state: Any) -> str:
    note = state.get("note") if isinstance(state, Mapping) else None
    return note if isinstance(note, str) else ""


def _started(spawner: Any) -> datetime | None:
    row = getattr(spawner, "orm_spawner", None)
    started: datetime | None = getattr(row, "started", None)
    return started


def _known_options(options: Any, catalogue: Catalogue) -> dict[str, str]:
    if not isinstance(options, Mapping):
        return {}
    known: dict[str, str] = {}
    proposal, environment, flavour = (options.get(key) for key in ("proposal", "environment", "flavour"))
    if matches(IDENTIFIER, proposal):
        known["proposal"] = str(proposal)
    if isinstance(environment, str) and environment in catalogue.environments:
        known["environment"] = catalogue.environments[environment].title
    if isinstance(flavour, str) and flavour in catalogue.flavours:
        known["flavour"] = catalogue.flavours[flavour].title
    return known
