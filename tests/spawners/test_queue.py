"""A full backend does not refuse: starts wait in a fair order, are seen, cancelled and never lost."""

from collections.abc import Iterator

import pytest

from tests.spawners.portal import Portal, quiet_log, small_settings
from tests.support.stack import Stack
from tests.support.waiting import wait_until

PEOPLE = ("amara", "bruno", "edgar")
HOLDER = {"proposal": "20190417", "environment": "works"}
# The hub's own limit would answer 429 to a person instead of letting her wait: it must be off.
EXTRA = """
c.DaasSpawner.backends = {"local": {"capacity": {"machines": 1, "cpus": 3}}}
assert c.JupyterHub.concurrent_spawn_limit == 0
"""


@pytest.fixture(scope="module")
def full_portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal whose backend takes one session at a time."""
    settings = small_settings()
    settings["profiles"]["works"]["flavours"] = ["small", "large"]
    stack = Stack(tmp_path_factory.mktemp("queue"), settings=settings, extra=EXTRA)
    try:
        yield Portal(stack.start(), PEOPLE)
    finally:
        stack.stop()


@pytest.fixture
def portal(full_portal: Portal) -> Iterator[Portal]:
    """The portal with its one place taken."""
    full_portal.clean()
    assert full_portal.start("brave-curie", HOLDER, "edgar").status_code == 201
    yield full_portal
    full_portal.clean()


def page(portal: Portal, person: str) -> str:
    """Return the page of a person's sessions."""
    return portal.stack.login(person).get(f"{portal.stack.url}/hub/home", timeout=30).text


def wait_in_line(portal: Portal, name: str, person: str) -> None:
    """Start what has to wait."""
    assert portal.start(name, person=person).status_code == 202
    wait_until(lambda: "Waiting for a free place" in page(portal, person), 20, what=f"{name} waits")


def free(portal: Portal, name: str = "brave-curie", person: str = "edgar") -> None:
    """End the session that has the place."""
    portal.stop(name, person, remove=True)


def test_a_start_waits_and_comes_up_when_there_is_room(portal: Portal) -> None:
    with quiet_log(portal.stack):
        wait_in_line(portal, "calm-bragg", "amara")
        assert portal.model("calm-bragg")["pending"] == "spawn"
        # What it will hold is held, and nothing of it was begun.
        assert list(portal.held("amara").values()) == ["held"]
        assert len(portal.living()) == 1
        assert "Waiting for a free place: you are next" in page(portal, "amara")
        free(portal)
        portal.wait_ready("calm-bragg")
    assert portal.held("amara") == {portal.session_id("calm-bragg"): "active"}
    assert "Waiting for" not in page(portal, "amara")


def test_people_take_turns(portal: Portal) -> None:
    for name in ("calm-bragg", "keen-laue"):
        wait_in_line(portal, name, "amara")
    wait_in_line(portal, "swift-bohr", "bruno")
    assert "1 before you" in page(portal, "bruno")
    assert "2 before you" in page(portal, "amara")
    free(portal)
    portal.wait_ready("calm-bragg")
    portal.stop("calm-bragg", remove=True)
    # Amara had a turn: now it is Bruno's, although her second start came first.
    portal.wait_ready("swift-bohr", "bruno")
    assert portal.model("keen-laue")["pending"] == "spawn"
    portal.stop("swift-bohr", "bruno", remove=True)
    portal.wait_ready("keen-laue")


def test_a_start_that_is_cancelled_while_it_waits_leaves_nothing(portal: Portal) -> None:
    wait_in_line(portal, "calm-bragg", "amara")
    wait_in_line(portal, "swift-bohr", "bruno")
    assert "1 before you" in page(portal, "bruno")
    with quiet_log(portal.stack):
        portal.stack.admin("DELETE", "/users/amara/servers/calm-bragg", json={"remove": True})
        wait_until(lambda: "you are next" in page(portal, "bruno"), 20)
        wait_until(lambda: not portal.names() and not portal.held("amara"), 20)
    free(portal)
    portal.wait_ready("swift-bohr", "bruno")


def test_a_page_that_is_opened_again_shows_the_place(portal: Portal) -> None:
    wait_in_line(portal, "calm-bragg", "amara")
    session = portal.stack.login("amara")
    for _ in range(2):
        shown = session.get(f"{portal.stack.url}/hub/spawn-pending/amara/calm-bragg", timeout=30).text
        assert "Waiting for a free place: you are next" in shown
        assert "You may close this page" in shown


def test_the_form_says_what_is_free(portal: Portal) -> None:
    form = f"{portal.stack.service_url('portal')}launch?proposal=20190417&environment=works"
    amara = portal.stack.login("amara")
    small, large = amara.get(form, timeout=30).text.split('value="works/large"')
    assert "None free now, a start waits for its turn." in small
    assert "disabled" not in small[small.index('value="works/small"') :]
    # More than there is at all.
    assert "disabled" in large[: large.index(">")]
    assert "This size has more cpus than there are." in large
    free(portal)
    wait_until(lambda: "1 free now" in amara.get(form, timeout=30).text, 20)


def test_who_lost_her_access_while_she_waited_is_refused(portal: Portal) -> None:
    wait_in_line(portal, "calm-bragg", "amara")
    block = "people/amara/block"
    answer = portal.stack.call("accounts", "PUT", block, json={"reason": "Please see the user office."})
    assert answer.status_code in (200, 201, 204), answer.text
    try:
        free(portal)
        wait_until(lambda: not portal.held("amara") and not portal.living(), 20)
    finally:
        portal.stack.call("accounts", "DELETE", block)
    assert "reason=account_blocked" in portal.stack.log()


@pytest.mark.parametrize("crash", [False, True], ids=["in order", "killed"])
def test_a_wait_that_a_restart_of_the_hub_ends_is_told(portal: Portal, crash: bool) -> None:
    wait_in_line(portal, "calm-bragg", "amara")
    if crash:
        portal.stack.kill_hub()
    else:
        portal.stack.stop_hub()
    portal.stack.start_hub()
    wait_until(lambda: portal.model("calm-bragg").get("stopped"), 30)
    assert "The portal was restarted while this start was waiting" in page(portal, "amara")
    # The session that ran counts still: what is started now waits.
    portal.wait_ready("brave-curie", "edgar")
    wait_until(lambda: not portal.held("amara"), 60)
    wait_in_line(portal, "calm-bragg", "amara")
    assert "was restarted" not in page(portal, "amara")
    free(portal)
    portal.wait_ready("calm-bragg")
