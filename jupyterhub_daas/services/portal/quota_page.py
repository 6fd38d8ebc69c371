"""What may be held, what is held, and what is left: of the person's own quota and of each proposal's."""

import asyncio
from typing import Annotated

from pydantic import BaseModel, Field

from jupyterhub_daas.core.resources import DIMENSIONS
from jupyterhub_daas.services.portal.pages import PageHandler

PAGE = 5


class _Part(BaseModel):
    search: Annotated[str, Field(max_length=200)] = ""
    page: Annotated[int, Field(ge=1, le=100_000)] = 1


class QuotasHandler(PageHandler):
    """Show the quotas."""

    async def get(self) -> None:
        """Show the person's quota, and those of some of her proposals."""
        asked = self.fields(_Part)
        quotas, token = self.clients.quotas, self.token
        mine, proposals = await asyncio.gather(
            quotas.quota_of_person(self.me, token=token),
            self.clients.proposals.proposals_of(
                self.me,
                search=asked.search,
                sort="-identifier",
                offset=(asked.page - 1) * PAGE,
                limit=PAGE,
                token=token,
            ),
        )
        of_proposals = await asyncio.gather(
            *(quotas.quota_of_proposal(each.identifier, token=token) for each in proposals.items)
        )
        self.page(
            "quotas.html",
            current="quotas",
            dimensions=DIMENSIONS,
            mine=mine,
            proposals=tuple(zip(proposals.items, of_proposals, strict=True)),
            total=proposals.total,
            asked=asked,
            first=(asked.page - 1) * PAGE,
            pages=max(1, -(-proposals.total // PAGE)),
            flavours=self.facility_settings.flavours,
        )
