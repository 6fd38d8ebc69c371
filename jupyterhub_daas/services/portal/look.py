"""How the facility presents itself: what all templates share, in the hub and in the portal.

The hub renders its pages on its one event loop: nothing here does I/O after construction.
"""

import hashlib
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from markupsafe import Markup

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.core.resources import format_amount, format_bytes
from jupyterhub_daas.core.settings import Facility, Settings
from jupyterhub_daas.services.portal.assets import STATIC_PATH
from jupyterhub_daas.services.portal.cards import Card, card_of, cards_of

PACKAGE = Path(__file__).resolve().parents[2]
TEMPLATE_PATH = PACKAGE / "templates"
HUB_STATIC = "daas/static/"


class Look:
    """Names, addresses and words for the templates; `daas` in the hub's, `look` in the portal's."""

    def __init__(self, settings: Settings, *, hub: str, portal: str, static: str) -> None:
        self.facility: Facility = settings.facility
        self.catalogue: Catalogue = settings.catalogue
        self.hub = hub
        self.portal = portal
        self._static = static
        self._versions = {path.name: _version(path) for path in STATIC_PATH.iterdir() if path.is_file()}

    @classmethod
    def for_hub(cls, settings: Settings, base_url: str = "/") -> "Look":
        """Return the look of the hub's own pages, whose static files the hub serves itself."""
        hub = f"{base_url.rstrip('/')}/hub/"
        return cls(
            settings, hub=hub, portal=f"{base_url.rstrip('/')}/services/portal/", static=hub + HUB_STATIC
        )

    @cached_property
    def login(self) -> str:
        """Return where to log in; afterwards the person's proposals open."""
        return f"{self.hub}login?next={quote(self.portal + 'proposals', safe='')}"

    @cached_property
    def logo(self) -> str:
        """Return the address of the facility's logo."""
        return self.facility.logo or self.asset("mark.svg")

    @cached_property
    def logo_origin(self) -> str:
        """Return where the logo comes from if that is another site, for the pages' security policy."""
        parts = urlsplit(self.facility.logo or "")
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""

    def asset(self, name: str) -> str:
        """Return the address of a static file; its content is part of it, so that it may be kept for ever."""
        return f"{self._static}{name}?v={self._versions[name]}"

    def proposal_url(self, identifier: str) -> str:
        """Return the page of a proposal."""
        return f"{self.portal}proposals/{quote(identifier, safe='')}"

    def session_url(self, name: str) -> str:
        """Return the page of one of the person's own sessions."""
        return f"{self.portal}sessions/{quote(name, safe='')}"

    def cards(self, user: Any) -> tuple[Card, ...]:
        """Return the sessions of one of the hub's users as cards, from memory."""
        return cards_of(user, self.catalogue, self.hub)

    def card(self, user: Any, spawner: Any) -> Card:
        """Return one session of one of the hub's users as a card, from memory."""
        return card_of(user, spawner, self.catalogue, self.hub)

    @staticmethod
    def time(moment: datetime | None, absent: str = "–") -> Markup | str:
        """Return a <time>: exact and in UTC; the page's script makes it relative."""
        if moment is None:
            return absent
        # The hub's own times carry no zone and are UTC.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        utc = aware.astimezone(timezone.utc)
        return Markup('<time datetime="{}">{}</time>').format(
            utc.isoformat(timespec="seconds").replace("+00:00", "Z"), utc.strftime("%-d %B %Y, %H:%M UTC")
        )

    @staticmethod
    def date(moment: datetime) -> str:
        """Return a day for a person."""
        return moment.strftime("%-d %B %Y")

    @staticmethod
    def amount(dimension: str, value: float | None) -> str:
        """Return an amount of a dimension for a person."""
        return format_amount(dimension, value)

    @staticmethod
    def size(amount: float) -> str:
        """Return bytes for a person."""
        return format_bytes(amount)

    @staticmethod
    def words(slug: str) -> str:
        """Return a key such as ``principal_investigator`` as words."""
        return slug.replace("_", " ")


def _version(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
