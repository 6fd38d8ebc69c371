"""A real hub behind a real proxy whose services and providers are the test's stand-ins.

So a test can have each outage, each lie and each change of a person's standing at will; that the whole portal
signs people in too is shown where all services run.
"""

import subprocess
from pathlib import Path
from typing import Any

import requests

from jupyterhub_daas.authenticators.accounts import write_entry
from tests.support.directory_services import DirectoryServices
from tests.support.identity_provider import IdentityProvider
from tests.support.sign_in import browser
from tests.support.stack import Stack

PASSWORD = "a password nobody guesses"
ACCOUNTS = ("amara", "bruno", "dora", "zoe")

EXTRA = """
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.template_paths = [given["folder"] + "/pages", *c.JupyterHub.template_paths]
c.DaasAuthenticator.hub_handlers = ""
c.DaasAuthenticator.service_token = {token!r}
c.DaasAuthenticator.providers = {providers!r}
c.DaasAuthenticator.auth_refresh_age = {refresh_age!r}
c.JupyterHub.default_url = "/hub/home"
"""
# The portal's own frame is tested with the portal; here a page only has to show its content.
FRAME = "<title>{% block title %}{% endblock %}</title>{% block main %}{% endblock %}"
HOME = '{% extends "page.html" %}{% block main %}<p id="home">{{ user.name }}</p>{% endblock %}'


class Portal:
    """The hub, its stand-ins and what a browser sees."""

    def __init__(self, folder: Path, *, refresh_age: int = 300) -> None:
        self.services = DirectoryServices().start()
        self.umbrella, self.institute = IdentityProvider().start(), IdentityProvider().start()
        self.institute.subject = "amara@institute.example"
        providers = [
            self.umbrella.settings(),
            self.institute.settings(key="institute", title="Institute", client_authentication="post"),
        ]
        extra = EXTRA.format(token=self.services.token, providers=providers, refresh_age=refresh_age)
        configure = {"services": [], "service_urls": self.services.urls}
        self.stack = Stack(folder, extra=extra, configure=configure)
        (folder / "pages").mkdir()
        (folder / "pages" / "page.html").write_text(FRAME)
        (folder / "pages" / "home.html").write_text(HOME)
        (folder / "accounts.yaml").unlink()
        for username in ACCOUNTS:
            write_entry(folder / "accounts.yaml", username, PASSWORD)
        if self.stack.prefix:
            subprocess.run(["chown", "-R", str(self.stack.uid), str(folder)], check=True)

    @property
    def url(self) -> str:
        """Return the portal's address."""
        return self.stack.url

    def know_everybody(self) -> None:
        """Let the services know the people of the tests, as if nothing had happened yet."""
        self.services.__dict__.update(
            blocked={}, roles={}, away=set(), answers={}, identities={}, proposals={}
        )
        self.services.know("amara", identity=(self.umbrella.issuer, "amara@umbrella.example"))
        self.services.know("bruno", identity=(self.institute.issuer, "bruno@institute.example"))
        self.services.know("dora", proposals=0)
        for provider in (self.umbrella, self.institute):
            provider.away.clear()
        self.umbrella.subject, self.institute.subject = "amara@umbrella.example", "bruno@institute.example"

    def start(self) -> "Portal":
        """Start the proxy and the hub."""
        self.know_everybody()
        self.stack.start()
        return self

    def close(self) -> None:
        """End everything."""
        self.stack.stop()
        for server in (self.services, self.umbrella, self.institute):
            server.close()

    def home(self, session: requests.Session) -> requests.Response:
        """Open a page that only somebody who is signed in sees."""
        return session.get(f"{self.url}/hub/home", timeout=30, allow_redirects=False)

    def hub_user(self, username: str) -> dict[str, Any]:
        """Return what the hub knows of a person."""
        answer = self.stack.admin("GET", f"/users/{username}")
        found: dict[str, Any] = answer.json()
        return found

    def visit(self) -> requests.Session:
        """Return a new browser."""
        return browser()
