"""The conditions of use: shown in their present version, accepted once per version."""

import asyncio
from typing import Annotated

from pydantic import BaseModel, Field

from jupyterhub_daas.errors import ConflictError
from jupyterhub_daas.services.portal.pages import PageHandler


class _Shown(BaseModel):
    next: Annotated[str, Field(max_length=2000)] = ""


class _Accepted(_Shown):
    version: Annotated[str, Field(min_length=1, max_length=40)]


class ConditionsHandler(PageHandler):
    """Show the conditions of use and record that the person accepts them."""

    async def get(self) -> None:
        """Show the present version."""
        await self._show(self.fields(_Shown).next)

    async def post(self) -> None:
        """Accept the version that was shown; if it has changed meanwhile, show the new one."""
        fields = self.fields(_Accepted)
        try:
            await self.clients.accounts.accept(self.me, fields.version, token=self.token)
            self.clients.recent.forget(self.me)
        except ConflictError:
            await self._show(fields.next, changed=True)
            return
        self.see_other(self.own_address(fields.next))

    async def _show(self, back: str, *, changed: bool = False) -> None:
        accounts = self.clients.accounts
        conditions, standing = await asyncio.gather(
            accounts.conditions(token=self.token), accounts.standing(self.me, token=self.token)
        )
        self.page("conditions.html", conditions=conditions, standing=standing, back=back, changed=changed)
