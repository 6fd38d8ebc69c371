"""Be a browser that signs in: follow redirects, fill the provider's form, come back."""

from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

MOST_STEPS = 6
TIMEOUT = 30


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self._inside = True
            self.found.append((values.get("action") or "", {}))
        elif self._inside and tag == "input" and values.get("name"):
            left_out = values.get("type") in ("radio", "checkbox") and "checked" not in values
            if not left_out:
                self.found[-1][1][str(values["name"])] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def browser() -> requests.Session:
    """Return a browser: it says, as all do, that a person opens the pages."""
    session = requests.Session()
    session.headers["Sec-Fetch-Mode"] = "navigate"
    return session


def first_form(text: str, field: str = "") -> tuple[str, dict[str, str]] | None:
    """Return action and fields of the first form of a page, or of the first with this field."""
    parser = _Forms()
    parser.feed(text)
    return next((form for form in parser.found if not field or field in form[1]), None)


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
    session: requests.Session, portal: str, username: str, password: str, *, source: str = "", **query: str
) -> requests.Response:
    """Fill the portal's own form; return its answer."""
    page = session.get(f"{portal}/hub/login", params=query, timeout=TIMEOUT)
    form = first_form(page.text, "password")
    assert form is not None, page.text[:2000]
    action, fields = form
    data = {**fields, "username": username, "password": password} | ({"source": source} if source else {})
    return session.post(urljoin(page.url, action), data=data, timeout=TIMEOUT, allow_redirects=False)
