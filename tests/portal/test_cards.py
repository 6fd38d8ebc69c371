"""The cards of the sessions page, made of what the hub has in memory."""

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.services.portal.cards import Card, card_of, cards_of

CATALOGUE = Catalogue.model_validate(
    {
        "environments": {"jupyter": {"title": "Jupyter", "kind": "jupyter"}},
        "flavours": {"small": {"title": "Small", "cpus": 1, "memory": "3G"}},
        "profiles": {},
    }
)
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


class User:
    """As much of the hub's user as a card asks for."""

    name = "amara"

    def __init__(self, *spawners: Any) -> None:
        self._spawners = spawners

    def all_spawners(self, *, include_default: bool) -> list[Any]:
        assert not include_default
        return list(self._spawners)

    def server_url(self, name: str) -> str:
        return f"/user/amara/{name}/"


def live(name: str = "brave-curie", *, pending: str | None = None, ready: bool = False) -> Any:
    view = SimpleNamespace(
        proposal="20180301", environment="Jupyter", flavour="Small", created=NOW, expires_at=NOW
    )
    return SimpleNamespace(
        name=name,
        pending=pending,
        ready=ready,
        _failed=False,
        session=view,
        user_options={},
        last_activity=NOW,
    )


def row(options: Any, name: str = "calm-noether") -> Any:
    """A session that does not run is a plain row of the hub's database."""
    return SimpleNamespace(name=name, user_options=options, started=None, last_activity=None)


def card(spawner: Any) -> Card:
    return card_of(User(), spawner, CATALOGUE, "/hub/")


@pytest.mark.parametrize(
    ("pending", "ready", "state", "active"),
    [
        ("spawn", False, "starting", True),
        ("check", False, "starting", True),
        ("stop", True, "stopping", True),
        (None, True, "running", True),
        (None, False, "stopped", False),
    ],
)
def test_tells_the_state(pending: str | None, ready: bool, state: str, active: bool) -> None:
    found = card(live(pending=pending, ready=ready))
    assert (found.state, found.active) == (state, active)


def test_shows_what_the_spawner_knows() -> None:
    found = card(live(ready=True))
    assert (found.proposal, found.environment, found.flavour) == ("20180301", "Jupyter", "Small")
    assert found.expires_at == NOW
    assert found.url == "/user/amara/brave-curie/"
    assert found.pending_url == "/hub/spawn-pending/amara/brave-curie"


def test_shows_a_stopped_session_by_its_options() -> None:
    found = card(row({"proposal": "20180301", "environment": "jupyter", "flavour": "small"}))
    assert (found.proposal, found.environment, found.flavour) == ("20180301", "Jupyter", "Small")
    assert found.state == "stopped"


@pytest.mark.parametrize(
    "options",
    [
        None,
        [],
        "text",
        {"proposal": "../../etc", "environment": "<script>", "flavour": ["small"]},
        {"proposal": {"a": 1}, "environment": {}, "flavour": 3},
        {"proposal": "x" * 10_000, "environment": None},
    ],
)
def test_shows_nothing_of_options_that_nobody_checked(options: Any) -> None:
    found = card(row(options))
    assert (found.proposal, found.environment, found.flavour) == (None, None, None)


def test_puts_what_runs_first() -> None:
    user = User(row({}, "able-bohr"), live("witty-watt", ready=True), live("calm-curie", pending="stop"))
    names = [each.name for each in cards_of(user, CATALOGUE, "/hub/")]
    assert names == ["calm-curie", "witty-watt", "able-bohr"]
