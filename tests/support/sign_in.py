"""Be a browser that signs in: follow redirects, fill the provider's form, come back."""

from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

MOST_STEPS = 6
TIMEOUT = 30


class _FirstForm(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.place = "before"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form" and self.place == "before":
            self.place, self.action = "inside", values.get("action") or ""
        elif self.place == "inside" and tag == "input" and values.get("name"):
            self.fields[str(values["name"])] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self.place == "inside":
            self.place = "after"


def browser() -> requests.Session:
    """Return a browser: it says, as all do, that a person opens the pages."""
    session = requests.Session()
    session.headers["Sec-Fetch-Mode"] = "navigate"
    return session


def first_form(text: str) -> tuple[str, dict[str, str]] | None:
    """Return action and fields of the first form of a page."""
    parser = _FirstForm()
    parser.feed(text)
    return None if parser.place == "before" else (parser.action, parser.fields)


def sign_in_with_provider(
    session: requests.Session, portal: str, login: str, password: str, *, key: str = "umbrella", **query: str
) -> requests.Response:
    """Press the provider's button and fill its form; return the portal's last answer."""
    response = session.get(f"{portal}/hub/auth/{key}/oauth_login", params=query, timeout=TIMEOUT)
    for _ in range(MOST_STEPS):
        form = None if response.url.startswith(portal) else first_form(response.text)
        if form is None:
            break
        action, fields = form
        known = {"login": login, "password": password}
        data = {name: known.get(name, value) for name, value in fields.items() if name != "cancel"}
        response = session.post(urljoin(response.url, action), data=data, timeout=TIMEOUT)
    return response


def sign_in_with_account(
    session: requests.Session, portal: str, username: str, password: str, **query: str
) -> requests.Response:
    """Fill the portal's own form; return its answer."""
    page = session.get(f"{portal}/hub/login", params=query, timeout=TIMEOUT)
    form = first_form(page.text)
    assert form is not None, page.text[:2000]
    action, fields = form
    data = {**fields, "username": username, "password": password}
    return session.post(urljoin(page.url, action), data=data, timeout=TIMEOUT, allow_redirects=False)
