"""The truth table of access in a running portal: each row a person who tries it all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from jupyterhub_daas.authenticators.accounts.file import make_hash
from jupyterhub_daas.core.proposals import MemberRole
from tests.spawners.portal import Portal, small_settings
from tests.support.access_cases import (
    CASES,
    ELSEWHERE,
    EMBARGOED,
    INSTRUMENT,
    NOTHING,
    OTHER_INSTRUMENT,
    PROPOSAL,
    Case,
    May,
)
from tests.support.sign_in import browser, sign_in_with_provider
from tests.support.stack import DEMO, Stack
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_until

NAME = "brave-curie"
PERSON = {case.id: f"case-{number}" for number, case in enumerate(CASES)}
COLLEAGUE = PERSON["member"]


def directory(data: Path) -> dict[str, Any]:
    """Return a facility in which every case has a person of her own."""
    known = [case for case in CASES if case.known and case.linked]
    people = {
        PERSON[case.id]: {"display_name": case.id, "uid": 30000 + number, "gid": 30000 + number}
        for number, case in enumerate(known)
    }
    scientists = [PERSON[case.id] for case in known if case.on is MemberRole.INSTRUMENT_SCIENTIST]

    def proposal(key: str, members: list[Case], instrument: str, **given: Any) -> dict[str, Any]:
        roles = {PERSON[case.id]: case.on.value if case.on else "member" for case in members}
        place = {"instruments": [instrument], "folder": str(data / key)}
        return {"title": "x", "state": "running", "members": roles, **place, **given}

    def team(embargo: bool) -> list[Case]:
        on = [case for case in known if case.on and case.on is not MemberRole.INSTRUMENT_SCIENTIST]
        return [case for case in on if case.embargo is embargo]

    return {
        "instruments": {
            INSTRUMENT: {"title": "ID21", "scientists": scientists},
            OTHER_INSTRUMENT: {"title": "ID19", "scientists": []},
        },
        "people": people,
        "proposals": {
            PROPOSAL: proposal(PROPOSAL, team(False), INSTRUMENT),
            EMBARGOED: proposal(EMBARGOED, team(True), INSTRUMENT, embargo_until="2099-01-01T00:00:00Z"),
            ELSEWHERE: proposal(ELSEWHERE, [case for case in known if case.elsewhere], OTHER_INSTRUMENT),
        },
    }


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Umbrella]:
    """A provider, for the identity that nobody has linked."""
    provider = Umbrella(tmp_path_factory.mktemp("umbrella"))
    yield provider
    provider.stop()


def _write(folder: Path) -> None:
    accounts = {person: make_hash(f"{person}-facility").model_dump(mode="json") for person in PERSON.values()}
    (folder / "accounts.yaml").write_text(yaml.safe_dump(accounts))
    (folder / "facility.yaml").write_text(yaml.safe_dump(directory(folder / "data"), sort_keys=False))
    for identifier in (PROPOSAL, EMBARGOED, ELSEWHERE):
        for part in ("raw", "processed"):
            (folder / "data" / identifier / part).mkdir(parents=True)


@pytest.fixture(scope="module")
def facility(umbrella: Umbrella, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal of this facility, with its blocks and acceptances."""
    roles = {
        PERSON[case.id]: [grant.model_dump(mode="json", exclude_defaults=True) for grant in case.roles]
        for case in CASES
        if case.roles
    }
    stack = Stack(
        tmp_path_factory.mktemp("cases"),
        settings=small_settings(roles=roles),
        extra=f"c.DaasAuthenticator.providers = {[umbrella.settings()]!r}\n",
    )
    _write(stack.folder)
    stack.hand_over()
    umbrella.start(stack.url)
    try:
        stack.start()
        for case in CASES:
            if case.blocked:
                path = f"people/{PERSON[case.id]}/block"
                stack.call("accounts", "PUT", path, json={"reason": "Test."}).raise_for_status()
        yield Portal(stack, (), patience=60.0)
    finally:
        stack.stop()


def logged_in(facility: Portal, umbrella: Umbrella, case: Case) -> bool:
    """Sign in as the person of a case; tell whether the hub lets her in."""
    stack, person = facility.stack, PERSON[case.id]
    if not case.linked:
        session = browser()
        stranger = json.loads((DEMO / "people.json").read_text())["amara"]["password"]
        answer = sign_in_with_provider(session, stack.url, "amara", stranger)
        home = session.get(f"{stack.url}/hub/home", timeout=30, allow_redirects=False)
        assert answer.status_code in (200, 403)
        return home.status_code == 200
    try:
        stack.login(person)
    except RuntimeError as error:
        if f"{person} is not let in: 403" not in str(error):
            raise
        return False
    return True


def reality(facility: Portal, umbrella: Umbrella, case: Case) -> May:
    """Return what the person of a case is able to do."""
    if not logged_in(facility, umbrella, case):
        return NOTHING
    stack, person = facility.stack, PERSON[case.id]
    if case.accepted:
        stack.accept_conditions(person)
    token = stack.token(person)
    seen = stack.call("proposals", "GET", f"proposals/{case.proposal}", token=token)
    assert seen.status_code in (200, 404)
    headers = {"Authorization": f"token {token}"}
    wanted = {"proposal": case.proposal, "environment": "works"}
    path = f"{stack.api}/users/{person}/servers/{NAME}"
    answer = requests.post(path, headers=headers, json={"user_options": wanted}, timeout=60)
    started = answer.status_code in (201, 202)
    if started:
        facility.wait_ready(NAME, person)
    share = requests.post(
        f"{stack.api}/shares/{person}/{NAME}", headers=headers, json={"user": COLLEAGUE}, timeout=30
    )
    code = requests.post(f"{stack.api}/share-codes/{person}/{NAME}", headers=headers, json={}, timeout=30)
    return May(
        log_in=True,
        see=seen.status_code == 200,
        start=started,
        read_raw=has_raw(facility, case, expected=started),
        share=share.ok or code.ok,
    )


def has_raw(facility: Portal, case: Case, *, expected: bool) -> bool:
    """Tell whether a session of the person got the raw data of the proposal."""

    def told() -> bool:
        items = facility.stack.call("accounts", "GET", f"proposals/{case.proposal}/accesses").json()["items"]
        folder = f"proposals/{case.proposal}/raw (ro)"
        return any(each["person"] == PERSON[case.id] and folder in each["folders"] for each in items)

    if expected:
        wait_until(told, 60, what="the access is in the trail")
    return told()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_access(facility: Portal, umbrella: Umbrella, case: Case) -> None:
    try:
        assert reality(facility, umbrella, case) == case.may
    finally:
        if case.may.start:
            facility.stop(NAME, PERSON[case.id], remove=True)
