"""Starting under a name that is free, whatever else the person starts meanwhile."""

from typing import Any

import pytest

from jupyterhub_daas.clients import HubClient
from jupyterhub_daas.clients.hub import HubRefusalError
from jupyterhub_daas.core.names import is_session_name
from jupyterhub_daas.errors import ConflictError, UpstreamUnavailableError
from jupyterhub_daas.services.portal.launch import ATTEMPTS, start_session

TOKEN = "amara's token"


class Hub(HubClient):
    """A hub that refuses in the order of `refusals`; `lost` names were taken by another start meanwhile."""

    def __init__(self, *refusals: Exception, lost: int = 0) -> None:
        super().__init__("http://127.0.0.1:1", "")
        self.refusals, self.lost = list(refusals), lost
        self.names: set[str] = set()
        self.started: list[tuple[str, str, dict[str, Any], str | None]] = []

    async def user(self, person: str, *, token: str | None = None) -> dict[str, Any]:
        return {"name": person, "servers": {name: {} for name in self.names}}

    async def start(
        self, person: str, session: str, options: dict[str, Any], *, token: str | None = None
    ) -> None:
        assert session not in self.names
        if self.lost:
            self.lost -= 1
            self.names.add(session)
            raise HubRefusalError(f"{session} is already running", status=400)
        if self.refusals:
            raise self.refusals.pop(0)
        self.names.add(session)
        self.started.append((person, session, options, token))


async def test_starts_under_a_name_of_ours_with_the_person_s_token() -> None:
    hub = Hub()
    options = {"proposal": "20180301", "profile": "jupyter", "flavour": "small"}
    name = await start_session(hub, "amara", options, token=TOKEN)
    assert is_session_name(name)
    assert hub.started == [("amara", name, options, TOKEN)]


async def test_takes_another_name_when_the_first_was_taken_meanwhile() -> None:
    hub = Hub(lost=2)
    name = await start_session(hub, "amara", {}, token=TOKEN)
    assert [started[1] for started in hub.started] == [name]


async def test_gives_up_in_the_end() -> None:
    hub = Hub(lost=ATTEMPTS)
    with pytest.raises(ConflictError):
        await start_session(hub, "amara", {}, token=TOKEN)


async def test_does_not_repeat_a_refusal() -> None:
    refusal = HubRefusalError("This start does not fit your quota.", status=409)
    hub = Hub(refusal)
    with pytest.raises(HubRefusalError, match="does not fit"):
        await start_session(hub, "amara", {}, token=TOKEN)
    assert hub.started == []


async def test_says_that_the_hub_is_away() -> None:
    hub = Hub(UpstreamUnavailableError("away", service="hub"))
    with pytest.raises(UpstreamUnavailableError):
        await start_session(hub, "amara", {}, token=TOKEN)
