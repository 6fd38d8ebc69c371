"""The whole portal with its own services and the demo's provider: in, and out again when a right ends."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests

from jupyterhub_daas.core.audit import AuditAction, AuditOutcome, AuditRecord
from jupyterhub_daas.core.people import Role, group_of
from tests.support.frozen import frozen
from tests.support.sign_in import browser, sign_in_with_account, sign_in_with_provider
from tests.support.stack import ISSUER, PYTHON, ROOT, Stack, xsrf_of
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_until

EXTRA = """
c.DaasAuthenticator.providers = {providers!r}
c.DaasAuthenticator.auth_refresh_age = 1
c.DaasAuthenticator.failures_per_account = 3
"""


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Umbrella]:
    """The provider, not started yet."""
    made = Umbrella(tmp_path_factory.mktemp("umbrella"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def whole(umbrella: Umbrella, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The portal with this provider."""
    made = Stack(tmp_path_factory.mktemp("whole"), extra=EXTRA.format(providers=[umbrella.settings()]))
    directory = made.folder / "facility.yaml"
    directory.write_text(directory.read_text().replace(ISSUER, umbrella.issuer))
    umbrella.start(made.url)
    try:
        yield made.start()
    finally:
        made.stop()


def sign_in(whole: Stack, umbrella: Umbrella, login: str) -> tuple[requests.Session, requests.Response]:
    """Sign in at the provider."""
    session = browser()
    return session, sign_in_with_provider(session, whole.url, login, umbrella.password_of(login))


def is_in(whole: Stack, session: requests.Session) -> bool:
    """Tell whether the hub still knows who this is."""
    return session.get(f"{whole.url}/hub/home", timeout=30, allow_redirects=False).status_code == 200


def test_umbrella_leads_to_the_proposals_of_the_person(whole: Stack, umbrella: Umbrella) -> None:
    whole.accept_conditions("amara")
    session, answer = sign_in(whole, umbrella, "amara")
    assert answer.status_code == 200
    assert answer.url.startswith(f"{whole.url}/services/portal/proposals")
    assert "20180301" in answer.text
    assert is_in(whole, session)


def test_a_sign_in_asks_for_nothing_that_she_lacks_and_staff_for_all(
    whole: Stack, umbrella: Umbrella
) -> None:
    """The hub would warn of each scope that it does not grant."""
    for person, audits in (("amara", False), ("sofia", True)):
        whole.accept_conditions(person)
        before = len(whole.log())
        session, answer = sign_in(whole, umbrella, person)
        assert "requested scopes" not in whole.log()[before:], whole.log()[before:]
        assert ('href="/services/portal/audit"' in answer.text) is audits
        page = session.get(whole.service_url("portal") + "audit", timeout=30)
        assert page.status_code == (200 if audits else 404)


def test_somebody_without_a_proposal_reads_what_to_do(whole: Stack, umbrella: Umbrella) -> None:
    session, answer = sign_in(whole, umbrella, "dora")
    assert answer.status_code == 403
    assert "You are signed in, but" in answer.text
    assert "principal investigator" in answer.text
    assert not is_in(whole, session)


def test_the_role_admin_carries_the_admins_group(whole: Stack, umbrella: Umbrella) -> None:
    sign_in(whole, umbrella, "sofia")
    user = whole.admin("GET", "/users/sofia").json()
    assert "daas-admin" in user["groups"]
    assert user["admin"] is False


def test_a_block_ends_the_login_with_its_reason(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = sign_in(whole, umbrella, "bruno")
    assert is_in(whole, session)
    reason = {"reason": "The account was shared."}
    whole.call("accounts", "PUT", "people/bruno/block", json=reason).raise_for_status()
    try:
        wait_until(lambda: not is_in(whole, session), 15)
        _, answer = sign_in(whole, umbrella, "bruno")
        assert answer.status_code == 403
        assert "The account was shared." in answer.text
        account = sign_in_with_account(browser(), whole.url, "bruno", "bruno-facility")
        assert account.status_code == 403
    finally:
        whole.call("accounts", "DELETE", "people/bruno/block")
    session, _ = sign_in(whole, umbrella, "bruno")
    assert is_in(whole, session)


def test_a_link_that_is_taken_away_ends_the_login(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = sign_in(whole, umbrella, "edgar")
    assert is_in(whole, session)
    directory = whole.folder / "facility.yaml"
    before = directory.read_text()
    directory.write_text(before.replace(umbrella.subject_of("edgar"), "somebody-else@umbrellaid.example"))
    try:
        wait_until(lambda: not is_in(whole, session), 30)
        _, answer = sign_in(whole, umbrella, "edgar")
        assert answer.status_code == 403
        assert umbrella.subject_of("edgar") in answer.text
    finally:
        directory.write_text(before)


# What somebody asks of the services and the hub that is not hers; a body that is none changes nothing.
OTHERS: dict[str, tuple[str, str, str, dict[str, Any] | None]] = {
    "standing": ("accounts", "GET", "people/amara/standing", None),
    "block": ("accounts", "PUT", "people/amara/block", {"reason": 7}),
    "grant": ("accounts", "PUT", "people/amara/roles/staff", {"instruments": 7}),
    "link": ("accounts", "PUT", "people/amara/identities", {"issuer": 7}),
    "unlink": ("accounts", "POST", "people/amara/identities/unlink", {"issuer": 7}),
    "audit": ("accounts", "GET", "audit?limit=1", None),
    "quota": ("quotas", "GET", "people/amara/quota", None),
    "override": ("quotas", "PUT", "overrides/person/amara", {"limits": 7}),
    "usage": ("quotas", "GET", "usage", None),
    "proposals": ("proposals", "GET", "people/amara/proposals", None),
}
MAY: dict[Role, set[str]] = {
    Role.USER: set(),
    Role.STAFF: set(),
    Role.INSTRUMENT_SCIENTIST: set(),
    Role.TEACHER: set(),
    Role.STAKEHOLDER: {"usage"},
    Role.SUPPORT: {"standing", "link", "unlink", "quota", "proposals"},
    Role.ADMIN: set(OTHERS),
}


def groups_of(whole: Stack, username: str) -> set[str]:
    """Return the hub's groups of a person."""
    return set(whole.admin("GET", f"/users/{username}").json()["groups"])


def allowed(whole: Stack, token: str, what: str) -> bool:
    """Tell whether a token is let through to something."""
    service, method, path, body = OTHERS[what]
    answer = whole.call(service, method, path, token=token, json=body)
    assert answer.status_code in (200, 403, 404) or (body and answer.status_code in (400, 422)), answer.text
    return answer.status_code not in (403, 404)


@pytest.fixture
def granted(whole: Stack) -> Iterator[Callable[..., None]]:
    """Grant bruno a role; it is taken back afterwards."""
    held: list[Role] = []

    def grant(role: Role, **terms: Any) -> None:
        instruments = ["id21"] if role is Role.INSTRUMENT_SCIENTIST else []
        body = {"instruments": instruments, "reason": "For the tests.", **terms}
        whole.call("accounts", "PUT", f"people/bruno/roles/{role.value}", json=body).raise_for_status()
        held.append(role)

    yield grant
    for role in held:
        whole.call("accounts", "DELETE", f"people/bruno/roles/{role.value}")


@pytest.mark.parametrize("role", MAY, ids=[each.value for each in MAY])
def test_what_a_role_may_and_may_not(whole: Stack, granted: Callable[..., None], role: Role) -> None:
    if role is not Role.USER:
        granted(role)
    session = browser()
    sign_in_with_account(session, whole.url, "bruno", "bruno-facility")
    assert groups_of(whole, "bruno") == {group_of(Role.USER), group_of(role)}
    headers = {"X-XSRFToken": xsrf_of(session, "/hub/")}
    made = session.post(f"{whole.api}/users/bruno/tokens", json={"note": "t"}, headers=headers, timeout=30)
    made.raise_for_status()
    token = made.json()["token"]
    assert {what for what in OTHERS if allowed(whole, token, what)} == MAY[role]

    own = {"Authorization": f"token {token}"}
    listing = requests.get(f"{whole.api}/users", headers=own, timeout=30)
    assert (listing.status_code == 200 and len(listing.json()) > 1) is (role is Role.ADMIN)
    assert requests.get(f"{whole.api}/user", headers=own, timeout=30).json()["admin"] is False
    started = requests.post(f"{whole.api}/users/amara/servers/brave-curie", headers=own, timeout=30)
    assert started.status_code in (403, 404)


def test_a_role_that_expires_is_gone_at_the_next_refresh(whole: Stack, granted: Callable[..., None]) -> None:
    ends = datetime.now(timezone.utc) + timedelta(seconds=15)
    granted(Role.SUPPORT, expires_at=ends.isoformat())
    session = browser()
    sign_in_with_account(session, whole.url, "bruno", "bruno-facility")
    assert group_of(Role.SUPPORT) in groups_of(whole, "bruno")

    def gone() -> bool:
        assert is_in(whole, session)
        return group_of(Role.SUPPORT) not in groups_of(whole, "bruno")

    wait_until(gone, 60, what="the role is gone")
    assert datetime.now(timezone.utc) >= ends


@pytest.mark.parametrize("service", ["proposals", "accounts"])
def test_a_frozen_service_is_named_and_running_logins_go_on(
    whole: Stack, umbrella: Umbrella, service: str
) -> None:
    session, _ = sign_in(whole, umbrella, "amara")
    with frozen(whole.service_pid(service)):
        answer = sign_in_with_account(browser(), whole.url, "amara", "amara-facility")
        assert answer.status_code == 503
        assert f"The {service} service does not answer" in answer.text
        assert is_in(whole, session)
    answer = sign_in_with_account(browser(), whole.url, "amara", "amara-facility")
    assert answer.status_code == 302


# --- the audit trail of all this

SESSION = "brave-curie"


def own_token(whole: Stack, person: str) -> str:
    """Sign a person in anew; return a token of hers."""
    session = browser()
    sign_in_with_account(session, whole.url, person, f"{person}-facility")
    headers = {"X-XSRFToken": xsrf_of(session, "/hub/")}
    made = session.post(f"{whole.api}/users/{person}/tokens", json={"note": "t"}, headers=headers, timeout=30)
    made.raise_for_status()
    return str(made.json()["token"])


def do(url: str, method: str, token: str, body: Any = None, **query: str) -> requests.Response:
    """Ask the hub."""
    headers = {"Authorization": f"token {token}"}
    return requests.request(method, url, headers=headers, json=body, params=query, timeout=60)


def live_through_everything(whole: Stack, umbrella: Umbrella) -> None:
    """Do, and have refused, all that the trail has a word for."""
    sofia, amara = own_token(whole, "sofia"), own_token(whole, "amara")

    def staff(service: str, method: str, path: str, body: Any = None) -> None:
        whole.call(service, method, path, token=sofia, json=body).raise_for_status()

    sign_in(whole, umbrella, "amara")
    dora, _ = sign_in(whole, umbrella, "dora")
    form = {"_xsrf": xsrf_of(dora, "/hub/"), "name": "D", "email": "d@a.example", "message": "Please."}
    dora.post(f"{whole.url}/hub/access-request", data=form, timeout=30).raise_for_status()
    for _ in range(4):
        sign_in_with_account(browser(), whole.url, "edgar", "wrong")
    do(f"{whole.url}/hub/daas/lock-outs", "DELETE", sofia, account="edgar").raise_for_status()

    identity = {"issuer": "https://idp.other.example", "subject": "b", "reason": "Moved."}
    staff("accounts", "PUT", "people/bruno/identities", identity)
    staff("accounts", "POST", "people/bruno/identities/unlink", identity)
    staff("accounts", "PUT", "people/bruno/roles/support", {"instruments": [], "reason": "Helps out."})
    staff("accounts", "DELETE", "people/bruno/roles/support")
    staff("quotas", "PUT", "overrides/person/amara", {"limits": {"machines": 7}, "reason": "Beamtime."})
    staff("quotas", "DELETE", "overrides/person/amara")
    for person in ("amara", "edgar"):
        whole.accept_conditions(person)

    server = f"{whole.api}/users/amara/servers/{SESSION}"
    wanted = {"proposal": "20180301", "environment": "jupyter", "flavour": "small"}
    assert do(server, "POST", amara, {"user_options": {**wanted, "flavour": "huge"}}).status_code == 400
    assert do(server, "POST", amara, {"user_options": wanted}).status_code in (201, 202)
    wait_until(lambda: whole.admin("GET", f"/users/amara/servers/{SESSION}").json()["ready"], 60)
    share = do(f"{whole.api}/shares/amara/{SESSION}", "POST", amara, {"user": "bruno"})
    assert share.status_code in (403, 404)
    try:
        staff("accounts", "PUT", "people/amara/block", {"reason": "Please call us."})
        wait_until(lambda: not whole.admin("GET", f"/users/amara/servers/{SESSION}").json()["started"], 60)
    finally:
        staff("accounts", "DELETE", "people/amara/block")


AMARA, SOFIA, SOMEBODY = ("person", "amara"), ("person", "sofia"), ("identity", None)
# Who typed a wrong password is not known, and what was typed may be anything.
NOBODY, AT_THE_DOOR = ("unknown", "unknown"), ("portal", "sign-in")
HERS, CONDITIONS = ("session", SESSION), ("conditions", None)
# Action, outcome, reason, who did it, on whose behalf, to what.
EVERYTHING = {
    ("login", "done", None, AMARA, None, SOMEBODY),
    ("denial", "refused", "no_entry", SOMEBODY, None, SOMEBODY),
    ("denial", "refused", "unauthenticated", NOBODY, None, AT_THE_DOOR),
    ("denial", "refused", "too_many_attempts", NOBODY, None, AT_THE_DOOR),
    ("release", "done", None, SOFIA, None, ("person", "edgar")),
    ("link", "done", None, SOFIA, "bruno", SOMEBODY),
    ("unlink", "done", None, SOFIA, "bruno", SOMEBODY),
    ("role", "done", None, SOFIA, None, ("person", "bruno")),
    ("override", "done", None, SOFIA, None, AMARA),
    ("access_request", "done", None, ("person", "dora"), "dora", SOMEBODY),
    ("acceptance", "done", None, ("person", "edgar"), None, CONDITIONS),
    ("start", "refused", "unknown_flavour", AMARA, None, HERS),
    ("start", "done", None, AMARA, None, HERS),
    ("data_access", "done", None, AMARA, None, HERS),
    ("stop", "done", "blocked", ("service", "lifecycle"), "amara", HERS),
    ("block", "done", None, SOFIA, None, AMARA),
    ("unblock", "done", None, SOFIA, None, AMARA),
}


def shape_of(event: AuditRecord) -> tuple[Any, ...]:
    """Return an event without what differs each time."""
    kinds = event.actor.kind.value, event.object.kind.value
    actor = None if kinds[0] == "identity" else event.actor.name
    key = None if kinds[1] in ("identity", "conditions") else event.object.key
    head = event.action.value, event.outcome.value, event.reason
    return (*head, (kinds[0], actor), event.on_behalf_of, (kinds[1], key))


def test_the_trail_tells_of_everything(whole: Stack, umbrella: Umbrella) -> None:
    """Each kind of event is there with all its fields; nobody can share, and no machine is here to alarm."""
    began = datetime.now(timezone.utc)
    live_through_everything(whole, umbrella)
    told: list[AuditRecord] = []

    def complete() -> bool:
        answer = whole.call("accounts", "GET", "audit/export", params={"from": began.isoformat()})
        told[:] = [AuditRecord.model_validate_json(line) for line in answer.text.splitlines()]
        return {shape_of(each) for each in told} >= EVERYTHING

    with suppress(TimeoutError):
        wait_until(complete, 15)
    assert EVERYTHING - {shape_of(each) for each in told} == set()
    assert {each.action for each in told} == set(AuditAction) - {AuditAction.SHARE, AuditAction.ALARM}
    for each in told:
        assert each.request_id, each
        assert began <= each.time <= each.recorded_at <= datetime.now(timezone.utc), each
        assert each.reason or each.outcome is AuditOutcome.DONE, each
    of_data = [each for each in told if each.action in (AuditAction.DATA_ACCESS, AuditAction.STOP)]
    assert {each.proposal for each in of_data} == {"20180301"}
    command = [PYTHON, "-m", "jupyterhub_daas.cli", "audit", "verify"]
    command += ["--state", str(whole.folder / "state")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
