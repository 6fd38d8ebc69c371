"""The commands of the guides about people do what the guides say, on a whole portal."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.stack import ROOT, Stack

GUIDES = ROOT / "docs" / "how-to"
PORTAL = "https://daas.facility.example"
# Whose tokens no other test needs: some of the commands end all of them.
PERSON = "goran"
_CONSOLE = re.compile(r"^ *```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def commands(guide: Path) -> Iterator[str]:
    """Yield the calls of the portal's interface on a page, one line each."""
    for block in _CONSOLE.findall(guide.read_text(encoding="utf-8")):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.strip().startswith("$ curl") and PORTAL in line:
                yield line.strip().removeprefix("$ ")


class Caller:
    """Do what curl does with a command of a guide."""

    def __init__(self, stack: Stack, token: str) -> None:
        self._stack, self._token = stack, token

    def __call__(self, command: str) -> requests.Response:
        """Send it to this portal, as this person's, about somebody whom no other test needs."""
        words = shlex.split(re.sub(r"\b(amara|bruno)\b", PERSON, command))[1:]
        method, body, headers, address = "GET", None, {}, ""
        while words:
            word = words.pop(0)
            if word == "-X":
                method = words.pop(0)
            elif word == "-d":
                body = words.pop(0)
            elif word == "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value.replace("$TOKEN", self._token)
            else:
                address = word
        url = self._stack.url + address.removeprefix(PORTAL)
        return requests.request(method, url, headers=headers, data=body, timeout=60)


@pytest.fixture
def call(fast_stack: Stack, token_of: Callable[[str], str]) -> Iterator[Caller]:
    """An administrator at work; afterwards nothing is left of what she did."""
    yield Caller(fast_stack, token_of("sofia"))
    fast_stack.call("accounts", "DELETE", f"people/{PERSON}/block")
    fast_stack.call("accounts", "DELETE", f"people/{PERSON}/roles/instrument_scientist")
    for link in fast_stack.call("accounts", "GET", f"people/{PERSON}/identities").json()["items"]:
        if link["source"] != "directory":
            body = {**link["identity"], "reason": "End of the test."}
            fast_stack.call("accounts", "POST", f"people/{PERSON}/identities/unlink", json=body)


def ask(stack: Stack, subject: str) -> int:
    """Lay a request for access before staff, and return its number."""
    body: dict[str, Any] = {
        "identity": {"issuer": "https://guides.example", "subject": subject},
        "name": "A visitor",
        "email": "visitor@institute.example",
        "message": "Please.",
    }
    answer = stack.call("accounts", "POST", "access-requests", token=stack.hub_token, json=body)
    return int(answer.json()["id"])


def test_linking_unlinking_and_requests(fast_stack: Stack, call: Caller) -> None:
    listed, link, unlink, waiting, accept, decline = commands(GUIDES / "identities.md")
    identity = {"issuer": "https://proxy.umbrellaid.example/", "subject": "28c5353b8bb34984@umbrellaid.org"}
    assert call(listed).status_code == 200
    assert identity in [each["identity"] for each in call(link).json()["items"]]
    assert call(unlink).status_code == 204
    assert identity not in [each["identity"] for each in call(listed).json()["items"]]
    accepted, declined = (ask(fast_stack, subject) for subject in ("one", "two"))
    assert {accepted, declined} <= {each["id"] for each in call(waiting).json()["items"]}
    assert call(accept.replace("/17/", f"/{accepted}/")).json()["username"] == PERSON
    assert call(decline.replace("/17/", f"/{declined}/")).json()["state"] == "declined"


def test_blocking_and_roles(call: Caller) -> None:
    block, role = commands(GUIDES / "people.md")
    assert call(block).json()["blocked"]["reason"].startswith("Misuse")
    assert [each["role"] for each in call(role).json()["roles"]] == ["instrument_scientist"]


def test_the_incident_checklist(fast_stack: Stack, call: Caller) -> None:
    block, listed, unlink, state, events, lift = commands(GUIDES / "incident.md")
    identity = json.loads(shlex.split(unlink)[shlex.split(unlink).index("-d") + 1])
    path = f"people/{PERSON}/identities"
    fast_stack.call("accounts", "PUT", path, json={**identity, "reason": "Test."}).raise_for_status()
    assert call(block).json()["blocked"]["reason"].startswith("Somebody else used")
    assert identity["subject"] in [each["identity"]["subject"] for each in call(listed).json()["items"]]
    assert call(unlink).status_code == 204
    assert call(state).json()["broken"] is None
    told = [each["action"] for each in call(events.replace("2026-11-01", "2020-01-01")).json()["items"]]
    assert told[:2] == ["unlink", "block"]
    assert call(lift).status_code == 204
    assert call(events.replace("2026-11-01", "2020-01-01")).json()["items"][0]["action"] == "unblock"


def test_the_trail_s_own_page(call: Caller) -> None:
    (denials,) = commands(GUIDES / "audit.md")
    assert call(denials).json()["items"] == []
