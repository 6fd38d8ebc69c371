"""A real hub behind a real proxy whose services and providers are the test's stand-ins.

So a test can have each outage, each lie and each change of a person's standing at will; that the whole portal
signs people in too is shown where all services run.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from jupyterhub_daas.authenticators.accounts import write_entry
from tests.support.directory_services import DirectoryServices
from tests.support.identity_provider import IdentityProvider
from tests.support.sign_in import browser
from tests.support.stack import Stack, xsrf_of
from tests.support.waiting import wait_until

PASSWORD = "a password nobody guesses"
ACCOUNTS = ("amara", "bruno", "dora", "zoe")

EXTRA = """
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.template_paths = [given["folder"] + "/pages", *c.JupyterHub.template_paths]
c.DaasAuthenticator.hub_handlers = ""
c.DaasAuthenticator.refresh_pre_spawn = True  # the stand-in spawner has no gate of its own
c.DaasAuthenticator.service_token = {token!r}
c.DaasAuthenticator.providers = {providers!r}
c.DaasAuthenticator.auth_refresh_age = {refresh_age!r}
c.JupyterHub.default_url = "/hub/home"
"""
SOURCES = """
c.DaasAuthenticator.account_sources = {!r}
c.DaasAuthenticator.sources_name_the_same_people = True
"""
# The portal's own frame is tested with the portal; here a page only has to show its content.
FRAME = "<title>{% block title %}{% endblock %}</title>{% block main %}{% endblock %}"
HOME = '{% extends "page.html" %}{% block main %}<p id="home">{{ user.name }}</p>{% endblock %}'


class Portal:
    """The hub, its stand-ins and what a browser sees."""

    def __init__(
        self,
        folder: Path,
        *,
        refresh_age: int = 300,
        more_providers: Sequence[dict[str, Any]] = (),
        more_sources: Sequence[dict[str, Any]] = (),
        as_root: bool = False,
        more: str = "",
    ) -> None:
        self.services = DirectoryServices().start()
        self.umbrella, self.institute = IdentityProvider().start(), IdentityProvider().start()
        providers = [
            self.umbrella.settings(),
            self.institute.settings(key="institute", title="Institute"),
            *more_providers,
        ]
        extra = EXTRA.format(token=self.services.token, providers=providers, refresh_age=refresh_age)
        if more_sources:
            extra += SOURCES.format(list(more_sources))
        extra += more
        configure = {"services": [], "service_urls": self.services.urls}
        self.stack = Stack(folder, extra=extra, configure=configure, as_root=as_root)
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

    def begin(self) -> None:
        """Let everybody be as if nothing had happened yet."""
        for provider in (self.umbrella, self.institute):
            provider.be_honest()
        self.institute.subject = "bruno@institute.example"
        self.services.forget_everything()
        self.services.know("amara", identity=(self.umbrella.issuer, "amara@umbrella.example"))
        self.services.know("bruno", identity=(self.institute.issuer, "bruno@institute.example"))
        self.services.know("dora", proposals=0)
        self.services.know("zoe")

    def start(self) -> "Portal":
        """Start the proxy and the hub."""
        self.begin()
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

    def wait_until_out(self, session: requests.Session) -> None:
        """Wait until a browser is sent to the login."""
        wait_until(lambda: self.home(session).status_code == 302, 30)

    def hub_user(self, username: str) -> dict[str, Any]:
        """Return what the hub knows of a person."""
        answer = self.stack.admin("GET", f"/users/{username}")
        found: dict[str, Any] = answer.json()
        return found

    def api_token(self, session: requests.Session, username: str) -> str:
        """Return a new API token that somebody who is signed in makes for herself."""
        session.get(f"{self.url}/hub/token", timeout=30)
        answer = session.post(
            f"{self.stack.api}/users/{username}/tokens",
            json={"note": "tests"},
            headers={"X-XSRFToken": xsrf_of(session, "/hub/")},
            timeout=30,
        )
        answer.raise_for_status()
        return str(answer.json()["token"])

    def ask_api(self, token: str, method: str = "GET", path: str = "/user") -> requests.Response:
        """Ask the hub's REST API with a token only."""
        headers = {"Authorization": f"token {token}"}
        return requests.request(method, self.stack.api + path, headers=headers, timeout=60)

    def wait_for_providers(self) -> None:
        """Wait until the hub has noticed that no provider is away."""
        page = f"{self.url}/hub/login"
        wait_until(lambda: "does not answer" not in browser().get(page, timeout=30).text, 30)

    def visit(self) -> requests.Session:
        """Return a new browser."""
        return browser()
