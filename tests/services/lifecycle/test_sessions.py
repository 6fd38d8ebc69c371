"""Real sessions of a whole portal: what ends them, what spares them, and what a person reads of it."""

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import requests
import yaml

from tests.support.frozen import frozen
from tests.support.stack import Stack
from tests.support.waiting import wait_until

TokenOf = Callable[[str], str]
# See FAST: medium expires after half a minute, for all but instrument scientists; a busy machine needs most
# of that for a start.
LIFETIME_SECONDS = 0.008 * 3600


class Sessions:
    """Start sessions as people do, and look at them from all sides."""

    def __init__(self, stack: Stack, token_of: TokenOf) -> None:
        self.stack, self.token_of = stack, token_of

    def start(self, person: str, name: str, flavour: str, proposal: str) -> None:
        """Start a session and wait until it runs."""
        options = {"proposal": proposal, "environment": "jupyter", "flavour": flavour}
        answer = requests.post(
            f"{self.stack.api}/users/{person}/servers/{name}",
            headers={"Authorization": f"token {self.token_of(person)}"},
            json={"user_options": options},
            timeout=60,
        )
        assert answer.status_code in (201, 202), answer.text
        wait_until(lambda: self.ready(person, name), 60, what=f"{name} runs")

    def model(self, person: str, name: str) -> dict[str, Any]:
        """Return what the hub says of a session."""
        answer = self.stack.admin("GET", f"/users/{person}/servers/{name}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def ready(self, person: str, name: str) -> bool:
        """Tell whether it runs."""
        return bool(self.model(person, name).get("ready"))

    def own(self, person: str) -> dict[str, Any]:
        """Return what lifecycle tells the person."""
        answer = self.stack.call("lifecycle", "GET", f"people/{person}/sessions", token=self.token_of(person))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def held(self, person: str) -> list[str]:
        """Return the names of the sessions that quotas holds something for."""
        answer = self.stack.call("quotas", "GET", "reservations", params={"person": person})
        return sorted(each["session"] for each in answer.json()["items"])

    def reasons(self, person: str) -> dict[str, str]:
        """Return why sessions of the person were ended."""
        return {each["session"]: each["reason"] for each in self.own(person)["endings"]}

    def stop_all(self) -> None:
        """End whatever still runs."""
        for user in self.stack.admin("GET", "/users", params={"state": "active"}).json():
            for name in user["servers"]:
                self.stack.admin("DELETE", f"/users/{user['name']}/servers/{name}", json={"remove": True})

    def nothing_runs(self) -> bool:
        """Tell whether every session has ended and nothing is held."""
        active = self.stack.admin("GET", "/users", params={"state": "active"}).json()
        return not active and not self.stack.call("quotas", "GET", "reservations").json()["items"]


@pytest.fixture
def sessions(fast_stack: Stack, token_of: TokenOf) -> Iterator[Sessions]:
    for person in ("amara", "chiara"):
        fast_stack.accept_conditions(person)
    made = Sessions(fast_stack, token_of)
    yield made
    made.stop_all()
    wait_until(made.nothing_runs, 30, what="all sessions have ended")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_lifetimes_by_role_and_flavour_end_sessions(sessions: Sessions) -> None:
    sessions.start("chiara", "keen-volta", "medium", "20180301")
    sessions.start("amara", "calm-bohr", "small", "20180301")
    sessions.start("amara", "brave-curie", "medium", "20180301")
    own = {each["session"]: each for each in sessions.own("amara")["items"]}
    assert set(own) == {"brave-curie", "calm-bohr"}
    expires = moment(own["brave-curie"]["expires_at"])
    lifetime = expires - moment(own["brave-curie"]["created_at"])
    assert LIFETIME_SECONDS - 2 <= lifetime.total_seconds() <= LIFETIME_SECONDS + 1
    assert own["brave-curie"]["ends_at"] == own["brave-curie"]["expires_at"]
    assert (own["calm-bohr"]["proposal"], own["calm-bohr"]["flavour"]) == ("20180301", "small")
    assert own["calm-bohr"]["idle_seconds"] == 8 * 3600

    # Of two, one is about to end; what she does not reload her page for comes by itself.
    browser, url = sessions.stack.login("amara"), f"{sessions.stack.url}/hub/home"
    warned = wait_until(lambda: browser.get(url, timeout=30).text.count("its time is almost over"), 30)
    assert warned == 1
    assert sessions.own("amara")["items"][0]["warning"] == "expired"

    wait_until(lambda: not sessions.model("amara", "brave-curie").get("started"), 40, what="it has ended")
    assert datetime.now(timezone.utc) >= expires
    wait_until(lambda: sessions.held("amara") == ["calm-bohr"], 10, what="it holds nothing")
    assert sessions.reasons("amara") == {"brave-curie": "expired"}
    assert [each["session"] for each in sessions.own("amara")["items"]] == ["calm-bohr"]
    # The same flavour with another role, and the same role with another flavour, go on.
    assert sessions.ready("amara", "calm-bohr")
    assert sessions.ready("chiara", "keen-volta")
    assert sessions.reasons("chiara") == {}


def test_idle_limits_by_flavour_end_sessions(sessions: Sessions) -> None:
    sessions.start("amara", "deft-raman", "large", "20180301")
    sessions.start("amara", "eager-laue", "small", "20180301")
    wait_until(
        lambda: not sessions.model("amara", "deft-raman").get("started"), 40, what="the idle one has ended"
    )
    assert sessions.reasons("amara")["deft-raman"] == "idle"
    assert sessions.ready("amara", "eager-laue")
    assert "eager-laue" not in sessions.reasons("amara")


def test_a_person_reads_when_an_idle_session_would_end(sessions: Sessions) -> None:
    sessions.start("amara", "fine-planck", "small", "20180301")
    own = wait_until(lambda: [each for each in sessions.own("amara")["items"] if each["last_activity"]], 10)[
        0
    ]
    ends = moment(own["ends_at"]) - moment(own["last_activity"])
    assert ends.total_seconds() == 8 * 3600


def test_a_block_ends_running_sessions_and_denies_new_ones(sessions: Sessions) -> None:
    stack = sessions.stack
    sessions.start("amara", "glad-fermi", "small", "20180301")
    sessions.start("chiara", "honest-hahn", "small", "20180301")
    answer = stack.call("accounts", "PUT", "people/amara/block", json={"reason": "Please call us."})
    try:
        assert answer.status_code == 200
        wait_until(lambda: not sessions.model("amara", "glad-fermi").get("started"), 20, what="it ended")
        # Accounts had it ended at once, not only in the next round.
        assert "202 POST /services/lifecycle/api/v1/people/amara/end" in stack.log()
        assert sessions.ready("chiara", "honest-hahn")
        refused = requests.post(
            f"{stack.api}/users/amara/servers/jolly-gauss",
            headers={"Authorization": f"token {sessions.token_of('amara')}"},
            json={"user_options": {"proposal": "20180301", "environment": "jupyter"}},
            timeout=60,
        )
        assert 400 <= refused.status_code < 500
        wait_until(lambda: sessions.held("amara") == [], 10, what="it holds nothing")
    finally:
        stack.call("accounts", "DELETE", "people/amara/block").raise_for_status()
    wait_until(lambda: sessions.reasons("amara").get("glad-fermi") == "blocked", 10)


def test_staff_ends_all_sessions_of_a_person(sessions: Sessions) -> None:
    for name in ("kind-kepler", "lucid-meitner"):
        sessions.start("amara", name, "small", "20180301")
    token = sessions.token_of("sofia")
    answer = sessions.stack.call(
        "lifecycle", "POST", "people/amara/end", token=token, json={"reason": "staff"}
    )
    assert answer.status_code == 202
    wait_until(lambda: sessions.held("amara") == [], 20, what="both have ended")
    reasons = sessions.reasons("amara")
    assert (reasons["kind-kepler"], reasons["lucid-meitner"]) == ("staff", "staff")
    # What she starts afterwards goes on.
    sessions.start("amara", "merry-nernst", "small", "20180301")
    sessions.stack.call("lifecycle", "POST", "reconcile").raise_for_status()
    assert sessions.ready("amara", "merry-nernst")


def test_a_lost_proposal_warns_and_then_ends_its_sessions(sessions: Sessions) -> None:
    stack = sessions.stack
    sessions.start("amara", "quick-sanger", "small", "20180301")
    sessions.start("amara", "royal-shull", "small", "20190417")
    directory = stack.folder / "facility.yaml"
    before = directory.read_text()
    without = yaml.safe_load(before)
    del without["proposals"]["20180301"]["members"]["amara"]
    directory.write_text(yaml.safe_dump(without, sort_keys=False))

    def home() -> str:
        return str(stack.login("amara").get(f"{stack.url}/hub/home", timeout=30).text)

    try:
        wait_until(lambda: "You are no longer on proposal 20180301" in home(), 40, what="she is warned")
        assert home().count("You are no longer on proposal") == 1
        assert sessions.ready("amara", "quick-sanger")
        own = {each["session"]: each for each in sessions.own("amara")["items"]}
        assert (own["quick-sanger"]["warning"], own["royal-shull"]["warning"]) == ("membership", None)
        assert moment(own["quick-sanger"]["ends_at"]) > datetime.now(timezone.utc)
        ended = lambda: not sessions.model("amara", "quick-sanger").get("started")  # noqa: E731
        wait_until(ended, 90, what="it has ended")
        assert sessions.reasons("amara")["quick-sanger"] == "membership"
        assert sessions.ready("amara", "royal-shull")
        assert "You are no longer on proposal" not in home()
    finally:
        directory.write_text(before)


def test_a_reservation_without_a_session_is_released(sessions: Sessions) -> None:
    request = {
        "person": "amara",
        "proposal": "20180301",
        "session": "noble-pauli",
        "resources": {"machines": 1, "cpus": 1, "memory": 1024, "storage": 0, "gpus": 0},
        "environment": "jupyter",
        "flavour": "small",
        "backend": "local",
    }
    session_id = "00000000000000f1"
    made = sessions.stack.call("quotas", "PUT", f"reservations/{session_id}", json=request)
    assert made.status_code == 201
    # Young, it may stand for a start under way; after the grace time it stands for nothing.
    assert session_id not in sessions.stack.call("lifecycle", "POST", "reconcile").json()["released"]
    assert sessions.held("amara") == ["noble-pauli"]
    wait_until(lambda: sessions.held("amara") == [], 20, what="it is released")


def test_nothing_is_ended_while_a_service_does_not_answer(sessions: Sessions) -> None:
    service = "quotas"
    sessions.start("amara", "proud-siegbahn", "medium", "20180301")
    expires = moment(sessions.own("amara")["items"][0]["expires_at"])
    with frozen(sessions.stack.service_pid(service)):
        skipped = f"The {service} service does not answer"
        before = sessions.stack.log().count(skipped)
        wait_until(lambda: datetime.now(timezone.utc) > expires, 20, what="it has expired")
        wait_until(lambda: sessions.stack.log().count(skipped) >= before + 1, 30, what="a round is skipped")
        assert sessions.ready("amara", "proud-siegbahn")
        answer = sessions.stack.call("lifecycle", "POST", "reconcile")
        assert answer.status_code == 503
        assert answer.json()["error"]["service"] == service
        health = requests.get(sessions.stack.service_url("lifecycle") + "health", timeout=20)
        assert health.status_code == 503
        assert health.json()["parts"][service] is False
    wait_until(lambda: not sessions.model("amara", "proud-siegbahn").get("started"), 30, what="it has ended")
    assert sessions.reasons("amara")["proud-siegbahn"] == "expired"
