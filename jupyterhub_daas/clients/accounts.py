"""Client of the account API."""

from jupyterhub_daas.clients.base import ServiceClient, segment
from jupyterhub_daas.core.access import Standing
from jupyterhub_daas.core.model import Model


class ConditionsOfUse(Model):
    """The conditions of use in their present version."""

    version: str
    title: str
    text: str


class Names(Model):
    """A list of identifiers or usernames."""

    items: tuple[str, ...]


class AccountsClient(ServiceClient):
    """Conditions, acceptance, favourites, preferences, blocks and roles."""

    service = "accounts"

    async def standing(self, username: str, *, token: str | None = None) -> Standing:
        """Return what holds for a person when something is to start."""
        content = await self.call("GET", f"people/{segment(username)}/standing", token=token)
        return self.parse(Standing, content)

    async def conditions(self, *, token: str | None = None) -> ConditionsOfUse:
        """Return the conditions of use."""
        return self.parse(ConditionsOfUse, await self.call("GET", "conditions", token=token))

    async def accept(self, username: str, version: str, *, token: str | None = None) -> Standing:
        """Record that a person accepted a version of the conditions."""
        content = await self.call(
            "PUT", f"people/{segment(username)}/acceptance", body={"version": version}, token=token
        )
        return self.parse(Standing, content)

    async def favourites(self, username: str, *, token: str | None = None) -> tuple[str, ...]:
        """Return the identifiers of a person's favourite proposals."""
        content = await self.call("GET", f"people/{segment(username)}/favourites", token=token)
        return self.parse(Names, content).items

    async def set_favourite(
        self, username: str, identifier: str, *, favourite: bool, token: str | None = None
    ) -> None:
        """Make a proposal a favourite, or no longer one."""
        method = "PUT" if favourite else "DELETE"
        path = f"people/{segment(username)}/favourites/{segment(identifier)}"
        await self.call(method, path, token=token)

    async def blocked(self) -> tuple[str, ...]:
        """Return the usernames of everybody who is blocked."""
        return self.parse(Names, await self.call("GET", "blocked")).items
