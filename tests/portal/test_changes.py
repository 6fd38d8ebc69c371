"""What changes at a facility reaches the pages: more proposals than one holds, new conditions of use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.portal.browsing import arrive, listed, portal, post
from tests.support.stack import Stack
from tests.support.waiting import wait_until

MORE = [f"2026{number:04d}" for number in range(45)]
START = {"user_options": {"proposal": "20180301", "environment": "jupyter"}}
BARE, ASTRAY = MORE[1], MORE[2]
STARTED = "brave-curie"


def change(path: Path, **parts: Any) -> None:
    """Add to parts of a YAML file."""
    content = yaml.safe_load(path.read_text())
    for name, part in parts.items():
        content[name].update(part)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A portal of its own, where Bruno has 46 proposals."""
    stack = Stack(tmp_path_factory.mktemp("changing"))
    proposals = {
        identifier: {
            "title": f"Sample {identifier}",
            "instruments": ["id21"],
            "state": "accepted",
            "folder": identifier,
            "members": {"bruno": "member"},
        }
        for identifier in MORE
    }
    del proposals[BARE]["folder"]
    change(stack.folder / "facility.yaml", proposals=proposals)
    try:
        yield stack.start()
    finally:
        stack.stop()


def start(stack: Stack, token: str) -> requests.Response:
    """Start a session by the hub's REST API."""
    headers = {"Authorization": f"token {token}"}
    url = f"{stack.api}/users/bruno/servers/{STARTED}"
    return requests.post(url, headers=headers, json=START, timeout=60)


def test_pages_hold_all_proposals_once(changing: Stack) -> None:
    session = arrive(changing, "bruno")

    def page(number: int) -> str:
        shown = session.get(portal(changing, f"proposals?page={number}&sort=identifier"), timeout=30)
        assert shown.status_code == 200
        return shown.text

    found = [listed(page(number)) for number in (1, 2, 3)]
    assert [len(each) for each in found] == [20, 20, 6]
    assert [identifier for each in found for identifier in each] == sorted(["20180301", *MORE])
    assert "page=2" in page(1)
    assert "page=4" not in page(3)
    found_by_search = session.get(portal(changing, "proposals?search=20260007"), timeout=30).text
    assert listed(found_by_search) == ["20260007"]


def test_a_proposal_says_what_is_amiss_with_its_folder(changing: Stack) -> None:
    session = arrive(changing, "bruno")
    (changing.folder / "data" / ASTRAY).symlink_to("/etc")

    def page(identifier: str) -> str:
        shown = session.get(portal(changing, f"proposals/{identifier}"), timeout=30)
        assert shown.status_code == 200
        return shown.text

    assert "no folder with data" in page(BARE)
    assert "not where the facility keeps data" in page(ASTRAY)
    for notice in ("no folder with data", "not where the facility keeps data"):
        assert notice not in page("20180301")


def test_new_conditions_are_asked_for_again(changing: Stack) -> None:
    session = arrive(changing, "bruno")
    token = changing.token("bruno")
    changing.stop_hub()
    change(changing.folder / "daas.yaml", conditions={"version": "2027-01", "text": "Water the plants."})
    changing.start_hub()

    refused = start(changing, token)
    assert (refused.status_code, refused.reason) == (403, "conditions_not_accepted")
    assert changing.call("quotas", "GET", "reservations?person=bruno").json()["total"] == 0
    asked = session.get(portal(changing, "proposals"), timeout=30)
    assert "/conditions?next=" in asked.url
    assert "Water the plants." in asked.text

    assert post(changing, session, "conditions", version="2026-01").status_code == 200
    assert start(changing, token).status_code == 403
    assert post(changing, session, "conditions", version="2027-01").status_code == 303
    history = changing.call("accounts", "GET", "people/bruno/acceptance", token=token).json()
    assert [each["version"] for each in history["items"]] == ["2027-01", "2026-01"]
    assert start(changing, token).status_code in (201, 202)

    def ready() -> bool:
        servers = changing.admin("GET", "/users/bruno").json()["servers"]
        return bool(servers.get(STARTED, {}).get("ready"))

    wait_until(ready, 60, what="the session that was refused is ready")
