"""Run the portal service."""

from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuth
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.services.application import Route, Service, run
from jupyterhub_daas.services.environment import ServiceEnvironment
from jupyterhub_daas.services.portal.access_requests import AccessRequestsHandler
from jupyterhub_daas.services.portal.assets import NAME, STATIC_PATH, StaticHandler
from jupyterhub_daas.services.portal.conditions import ConditionsHandler
from jupyterhub_daas.services.portal.launch import LaunchHandler
from jupyterhub_daas.services.portal.look import Look
from jupyterhub_daas.services.portal.pages import Clients, MissingHandler, template_environment
from jupyterhub_daas.services.portal.proposals import (
    FavouriteFormHandler,
    FavouriteHandler,
    ProposalHandler,
    ProposalsHandler,
)
from jupyterhub_daas.services.portal.public import AboutHandler, HelpHandler, PartnersHandler, WelcomeHandler
from jupyterhub_daas.services.portal.quota_page import QuotasHandler
from jupyterhub_daas.services.portal.sessions import SessionHandler
from jupyterhub_daas.services.portal.trail import (
    AccessesHandler,
    ActivityHandler,
    AuditHandler,
    ExportHandler,
)

ROUTES: list[Route] = [
    ("", WelcomeHandler),
    ("about", AboutHandler),
    ("partners", PartnersHandler),
    ("help", HelpHandler),
    ("conditions", ConditionsHandler),
    ("proposals", ProposalsHandler),
    (r"proposals/([A-Za-z0-9][A-Za-z0-9._-]{0,63})", ProposalHandler),
    (r"proposals/([A-Za-z0-9][A-Za-z0-9._-]{0,63})/accesses", AccessesHandler),
    ("favourites", FavouriteFormHandler),
    (r"api/v1/favourites/([A-Za-z0-9][A-Za-z0-9._-]{0,63})", FavouriteHandler),
    ("launch", LaunchHandler),
    (r"sessions/([a-z][a-z0-9-]{0,30})", SessionHandler),
    ("quotas", QuotasHandler),
    ("activity", ActivityHandler),
    ("access-requests", AccessRequestsHandler),
    ("audit", AuditHandler),
    ("audit/export", ExportHandler),
    (f"static/{NAME}", StaticHandler, {"path": str(STATIC_PATH)}),
]


async def build(environment: ServiceEnvironment, _engine: AsyncEngine) -> Service:
    """Join pages, templates and clients."""
    hub = HubOAuth.instance()
    hub_prefix = hub.hub_host + hub.hub_prefix
    look = Look(
        environment.settings,
        hub=hub_prefix,
        portal=environment.prefix,
        static=environment.prefix + "static/",
    )
    clients = Clients(dict(environment.service_urls), environment.hub_api_url)
    origin = urlsplit(hub_prefix)
    return Service(
        routes=ROUTES,
        settings={
            "look": look,
            "clients": clients,
            "templates": template_environment(),
            "hub_origin": f"{origin.scheme}://{origin.netloc}" if origin.netloc else "",
            "default_handler_class": MissingHandler,
        },
        close=[clients.close],
    )


if __name__ == "__main__":
    run("portal", build)
