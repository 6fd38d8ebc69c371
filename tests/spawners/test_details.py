"""The page of one session: what the hub knows of it, its log for its owner, and nothing for anybody else."""

import pytest
import requests

from tests.portal.browsing import arrive
from tests.portal.browsing import portal as address
from tests.spawners.portal import PROPOSAL, WANTED, Portal

NAME = "brave-curie"
LOG = f'"$HOME/.daas/{NAME}.log"'


def ask(portal: Portal, path: str, token: str | None) -> requests.Response:
    """Ask the hub's endpoint as somebody."""
    headers = {"Authorization": f"token {token}"} if token else {}
    return requests.get(f"{portal.stack.url}/hub/daas/{path}", headers=headers, timeout=30)


@pytest.fixture(scope="module")
def tokens(shared_portal: Portal) -> dict[str, str]:
    """The people's own tokens: all that they may do."""
    return {person: shared_portal.stack.token(person) for person in ("amara", "bruno")}


@pytest.fixture
def running(portal: Portal) -> Portal:
    """The portal with a session of Amara's."""
    assert portal.start(NAME).status_code in (201, 202)
    portal.wait_ready(NAME)
    return portal


def read_log(portal: Portal, token: str, lines: int = 100) -> str:
    answer = ask(portal, f"sessions/amara/{NAME}/log?lines={lines}", token)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def test_says_what_it_is_and_how_it_started(running: Portal, tokens: dict[str, str]) -> None:
    details = ask(running, f"sessions/amara/{NAME}", tokens["amara"]).json()
    assert details["session_id"] == running.session_id(NAME)
    assert (details["state"], details["proposal"], details["flavour"]) == ("running", PROPOSAL, "Small")
    assert details["limits"] == {"machines": 1, "cpus": 1, "memory": 3 << 30, "storage": 5 << 30, "gpus": 0}
    assert details["started"]
    assert details["expires_at"]
    words = [event["message"] for event in details["events"]]
    assert words[0] == "Checking your account and the proposal"
    assert all(event["time"] for event in details["events"])


def test_says_why_a_start_failed_with_its_code(portal: Portal, tokens: dict[str, str]) -> None:
    # One that fails at once is told by the answer itself, and leaves nothing to look at.
    assert "did not come up in time" in portal.refusal(NAME, {**WANTED, "environment": "never"})
    details = ask(portal, f"sessions/amara/{NAME}", tokens["amara"]).json()
    last = details["events"][-1]
    assert last["code"] == "start_timeout"
    assert "did not come up in time" in last["message"]
    page = arrive(portal.stack, "amara").get(address(portal.stack, f"sessions/{NAME}"), timeout=30).text
    assert "Code for support: <code>start_timeout</code>" in page


def test_a_session_that_ended_can_still_be_looked_at(running: Portal, tokens: dict[str, str]) -> None:
    running.run(NAME, f"echo the last words >>{LOG}")
    running.stop(NAME)
    details = ask(running, f"sessions/amara/{NAME}", tokens["amara"]).json()
    assert details["state"] == "stopped"
    assert read_log(running, tokens["amara"]) == "the last words"


def test_the_owner_reads_her_log_without_its_secrets(running: Portal, tokens: dict[str, str]) -> None:
    token = running.run(NAME, "echo $JUPYTERHUB_API_TOKEN").strip()
    assert token
    running.run(NAME, f'echo "first <b>line</b>" >>{LOG}; echo "the token $JUPYTERHUB_API_TOKEN" >>{LOG}')
    assert read_log(running, tokens["amara"]) == "first <b>line</b>\nthe token [removed]"
    assert read_log(running, tokens["amara"], lines=1) == "the token [removed]"
    page = arrive(running.stack, "amara").get(address(running.stack, f"sessions/{NAME}"), timeout=30).text
    assert "first &lt;b&gt;line&lt;/b&gt;" in page
    assert token not in page


def test_nobody_else_learns_that_it_is_there(running: Portal, tokens: dict[str, str]) -> None:
    inside = running.run(NAME, "echo $JUPYTERHUB_API_TOKEN").strip()
    for path in (f"sessions/amara/{NAME}", f"sessions/amara/{NAME}/log"):
        absent = ask(running, path.replace(NAME, "keen-laue"), tokens["bruno"])
        for token in (tokens["bruno"], running.stack.plain_token):
            answer = ask(running, path, token)
            assert answer.status_code == absent.status_code == 404
            assert answer.json() == absent.json()
        # Neither may what runs in the session, nor whoever has no token.
        assert ask(running, path, inside).status_code == 404
        assert ask(running, path, None).status_code in (403, 404)
        assert ask(running, path, "0" * 32).status_code in (403, 404)
    other = arrive(running.stack, "bruno").get(address(running.stack, f"sessions/{NAME}"), timeout=30)
    assert other.status_code == 404


def test_staff_sees_the_details_and_no_log(running: Portal) -> None:
    token = running.stack.service_token
    assert ask(running, f"sessions/amara/{NAME}", token).status_code == 200
    assert ask(running, f"sessions/amara/{NAME}/log", token).status_code == 404


@pytest.mark.parametrize("lines", ["0", "-1", "1001", "1e2", "", "abc", "１０", "9" * 400])
def test_refuses_another_number_of_lines(running: Portal, tokens: dict[str, str], lines: str) -> None:
    answer = ask(running, f"sessions/amara/{NAME}/log?lines={lines}", tokens["amara"])
    assert answer.status_code == 400


def test_a_log_that_is_no_file_keeps_nobody_waiting(running: Portal, tokens: dict[str, str]) -> None:
    for command in (f"rm -f {LOG}; mkfifo {LOG}", f"rm -f {LOG}; ln -s /dev/zero {LOG}"):
        running.run(NAME, command)
        assert "no ordinary file" in read_log(running, tokens["amara"])
    running.run(NAME, f"rm -f {LOG}")
    assert "no log of this session" in read_log(running, tokens["amara"])


def test_what_it_was_is_known_after_a_restart_of_the_hub(running: Portal, tokens: dict[str, str]) -> None:
    running.run(NAME, f"echo before >>{LOG}")
    running.stack.stop_hub()
    running.stack.start_hub()
    running.wait_ready(NAME)
    details = ask(running, f"sessions/amara/{NAME}", tokens["amara"]).json()
    assert details["events"][0]["message"] == "Checking your account and the proposal"
    assert read_log(running, tokens["amara"]) == "before"


def test_what_is_free_is_for_everybody_who_is_signed_in(portal: Portal, tokens: dict[str, str]) -> None:
    assert ask(portal, "free", None).status_code == 403
    free = ask(portal, "free", tokens["bruno"]).json()
    assert [each["flavour"] for each in free["works"]] == ["small", "medium"]
    # Nothing bounds this backend.
    assert free["works"][0]["free"] is None
