"""A person at the portal without a browser: the requests that one would send."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.support.frozen import frozen
from tests.support.stack import Stack, xsrf_of

NAVIGATES = {"Sec-Fetch-Mode": "navigate"}


def portal(stack: Stack, path: str) -> str:
    """Return the address of a page."""
    return stack.service_url("portal") + path


def arrive(stack: Stack, person: str) -> requests.Session:
    """Log a person in who has accepted the conditions, and open her proposals."""
    session = stack.login(person)
    stack.accept_conditions(person)
    session.get(portal(stack, "proposals"), timeout=30).raise_for_status()
    return session


def post(stack: Stack, session: requests.Session, path: str, **fields: str) -> requests.Response:
    """Send a form of a page."""
    fields.setdefault("_xsrf", xsrf_of(session, "/portal/"))
    return session.post(portal(stack, path), data=fields, timeout=60, allow_redirects=False)


def listed(page: str) -> list[str]:
    """Return the identifiers of the proposals on a page, in order."""
    return re.findall(r'<tr role="row" data-proposal="([^"]+)"', page)


def quota_row(page: str, dimension: str) -> list[str]:
    """Return the numbers of the first quota table on a page for one dimension."""
    row = re.search(rf'<tr data-dimension="{dimension}">(.*?)</tr>', page, re.DOTALL)
    assert row, page
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row[1])]


@contextmanager
def away(stack: Stack, name: str) -> Iterator[None]:
    """Keep a service from answering for a while."""
    with frozen(stack.service_pid(name)):
        yield
