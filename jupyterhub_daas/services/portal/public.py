"""Pages for everybody: for a visitor without a cookie they cost the hub nothing."""

from jupyterhub_daas.services.portal.pages import PageHandler


class WelcomeHandler(PageHandler):
    """Say what the service is, for whom, and what one needs."""

    public = True

    async def get(self) -> None:
        """Show the page."""
        self.page("welcome.html", current="home")


class AboutHandler(PageHandler):
    """Say who runs the service and what it offers."""

    public = True

    async def get(self) -> None:
        """Show the page."""
        self.page("about.html", current="about")


class PartnersHandler(PageHandler):
    """Name the partners."""

    public = True

    async def get(self) -> None:
        """Show the page."""
        self.page("partners.html", current="partners")


class HelpHandler(PageHandler):
    """Answer what people ask."""

    public = True

    async def get(self) -> None:
        """Show the page."""
        self.page("help.html", current="help")
