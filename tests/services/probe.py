"""A service made of nothing but the common ground, for what no service of ours can be made to show."""

from typing import Annotated

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.services.application import Service, run
from jupyterhub_daas.services.environment import ServiceEnvironment
from jupyterhub_daas.services.handlers import ApiHandler

COOKIE_SECRET = "the secret of the probe's cookies"


class ProbeQuery(Model):
    """One number."""

    number: Annotated[int, Field(ge=0)] = 0


class ProbeHandler(ApiHandler):
    """Tell who calls, and what came in."""

    async def get(self) -> None:
        """Answer with the caller and the XSRF token of a page."""
        query = self.query(ProbeQuery)
        xsrf = self.xsrf_token.decode()
        self.answer(
            {"name": self.caller.name, "kind": self.caller.kind, "number": query.number, "xsrf": xsrf}
        )

    async def post(self) -> None:
        """Answer with the body."""
        self.answer(self.body(ProbeQuery))


class FailingHandler(ApiHandler):
    """Fail as no handler should."""

    async def get(self) -> None:
        """Raise what the border table does not know."""
        raise RuntimeError("a-detail-that-must-not-leave")


async def build(environment: ServiceEnvironment, engine: AsyncEngine) -> Service:
    """Return the two routes."""
    routes = [("api/v1/probe", ProbeHandler), ("api/v1/failing", FailingHandler)]
    return Service(routes=[*routes], settings={"cookie_secret": COOKIE_SECRET})


if __name__ == "__main__":
    run("accounts", build)
