"""The page of one session: what and where it is, its limits and times, how it started, and its own log."""

import asyncio
from typing import Annotated

from pydantic import BaseModel, Field

from jupyterhub_daas.core.details import MAX_LOG_LINES
from jupyterhub_daas.core.resources import DIMENSIONS
from jupyterhub_daas.errors import DaasError
from jupyterhub_daas.services.portal.pages import PageHandler


class _Asked(BaseModel):
    lines: Annotated[int, Field(ge=1, le=MAX_LOG_LINES)] = 200


class SessionHandler(PageHandler):
    """Show one of the person's own sessions."""

    async def get(self, name: str) -> None:
        """Show what the hub knows of it, and the end of its log."""
        asked = self.fields(_Asked)
        details, log = await asyncio.gather(
            self.clients.hub.details(self.me, name, token=self.token), self._end_of_log(name, asked.lines)
        )
        self.page(
            "session.html",
            current="sessions",
            session=details,
            log=log,
            lines=asked.lines,
            most_lines=MAX_LOG_LINES,
            dimensions=DIMENSIONS,
        )

    async def _end_of_log(self, name: str, lines: int) -> str:
        try:
            log = await self.clients.hub.log(self.me, name, lines=lines, token=self.token)
        except DaasError as error:
            # What is known of the session is shown all the same.
            return error.message
        return log.text
