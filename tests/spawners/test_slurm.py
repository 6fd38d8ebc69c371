"""Sessions as jobs of a real Slurm: what only a batch system does to them, and none of it loses one."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import requests

from tests.spawners.portal import PROPOSAL, Portal, quiet_log, rows
from tests.spawners.slurm_portal import options_of, slurm_portal, slurm_settings
from tests.support.slurm_lab import SlurmLab
from tests.support.waiting import wait_until

NAME, OTHER = "brave-curie", "calm-bohr"
PROFILES = {
    "down": options_of("down", partition="down"),
    "toolong": options_of("toolong", walltime_hours=12),
    "brief": options_of("brief", partition="short", walltime_hours=1 / 60),
    "nowhere": options_of("nowhere", partition="nowhere"),
    "admin": options_of("admin", partition="admin"),
    "odd": options_of("odd", constraint="quantum"),
    "impatient": options_of("impatient", wait_seconds=3),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Portal, SlurmLab]]:
    """A portal and its Slurm."""
    with slurm_portal(tmp_path_factory.mktemp("slurm"), slurm_settings(**PROFILES)) as found:
        yield found


@pytest.fixture
def lab(both: tuple[Portal, SlurmLab]) -> Iterator[SlurmLab]:
    """The Slurm, whole again after the test."""
    yield both[1]
    both[1].mend()


@pytest.fixture
def portal(both: tuple[Portal, SlurmLab], lab: SlurmLab) -> Iterator[Portal]:
    """The portal without any session."""
    both[0].clean()
    lab.clean()
    yield both[0]
    lab.mend()
    both[0].clean()
    lab.clean()


def wanted(key: str = "works", **more: str) -> dict[str, str]:
    """Return the options of a start."""
    return {"proposal": PROPOSAL, "environment": key, **more}


def start(portal: Portal, key: str = "works", name: str = NAME, **more: str) -> requests.Response:
    """Start a session."""
    answer = portal.start(name, wanted(key, **more))
    assert answer.status_code in (201, 202), answer.text
    return answer


def ready(portal: Portal, key: str = "works", **more: str) -> str:
    """Start a session, wait until it can be entered, and return its id."""
    start(portal, key, **more)
    portal.wait_ready(NAME, seconds=60)
    return portal.session_id(NAME)


def works(portal: Portal) -> bool:
    """Tell whether the session is there and answers."""
    return bool(portal.model(NAME).get("ready")) and portal.run(NAME, "echo here") == "here\n"


def gone(portal: Portal, lab: SlurmLab) -> bool:
    """Tell whether nothing is left of a session that never ran."""
    jobs = [name for name in lab.jobs() if name.startswith("daas-")]
    names = {name for _person, name, _options in rows(portal)}
    return not jobs and not portal.held("amara") and NAME not in names


def test_a_session_is_a_job_and_its_stop_leaves_nothing(portal: Portal, lab: SlurmLab) -> None:
    with quiet_log(portal.stack):
        session_id = ready(portal)
        assert lab.jobs() == {f"daas-{portal.hub_id}-{session_id}": "RUNNING"}
        assert works(portal)
        assert portal.stop(NAME, remove=True).status_code == 204
    assert gone(portal, lab)


@pytest.mark.parametrize(
    ("key", "reason", "words"),
    [
        ("nowhere", "configuration", "not there"),
        ("odd", "configuration", "does not have"),
        ("down", "no_capacity", "takes no sessions"),
        ("toolong", "no_capacity", "as long as"),
    ],
)
def test_what_the_cluster_would_never_run_is_refused_at_once(
    portal: Portal, lab: SlurmLab, key: str, reason: str, words: str
) -> None:
    with quiet_log(portal.stack):
        refused = portal.stack.log().count(f"reason={reason}")
        # A busy hub answers that it takes a while, and refuses then.
        assert words in portal.refusal(NAME, wanted(key))
        assert portal.stack.log().count(f"reason={reason}") > refused
        wait_until(lambda: gone(portal, lab), 30)


def test_a_full_cluster_says_why_and_when_and_serves_in_the_end(portal: Portal, lab: SlurmLab) -> None:
    filling = lab.fill("--nodes=2", "--ntasks=32", "--time=10")
    wait_until(lambda: lab.jobs().get("fill") == "RUNNING", 20)
    start(portal)
    wait_until(lambda: "Expected to start by" in progress(portal), 30, what="the moment is shown")
    assert "Waiting for free resources on the cluster" in progress(portal)
    assert portal.model(NAME)["pending"] == "spawn"
    lab.ask("scancel", filling)
    portal.wait_ready(NAME, seconds=60)
    assert portal.held("amara") == {portal.session_id(NAME): "active"}


def progress(portal: Portal) -> str:
    """Return what the page of a start that waits shows now."""
    url = f"{portal.stack.api}/users/amara/servers/{NAME}/progress"
    headers = {"Authorization": f"token {portal.stack.service_token}"}
    said = ""
    with requests.get(url, headers=headers, stream=True, timeout=(10, 3)) as answer:
        try:
            for line in answer.iter_lines(decode_unicode=True):
                said += line + "\n"
        except requests.exceptions.ConnectionError:
            # Nothing new came in the time that we read.
            return said
    return said


def test_a_place_that_does_not_come_in_time_is_given_up(portal: Portal, lab: SlurmLab) -> None:
    lab.fill("--nodes=2", "--ntasks=32", "--time=10")
    wait_until(lambda: lab.jobs().get("fill") == "RUNNING", 20)
    with quiet_log(portal.stack):
        portal.start(NAME, wanted("impatient"))
        wait_until(lambda: gone(portal, lab), 60)
    assert "reason=no_capacity" in portal.stack.log()


def test_a_start_that_waits_can_be_cancelled(portal: Portal, lab: SlurmLab) -> None:
    lab.fill("--nodes=2", "--ntasks=32", "--time=10")
    wait_until(lambda: lab.jobs().get("fill") == "RUNNING", 20)
    start(portal)
    wait_until(lambda: len(lab.jobs()) == 2, 20)
    portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}", json={"remove": True})
    wait_until(lambda: gone(portal, lab), 30)


def test_a_suspended_session_is_kept(portal: Portal, lab: SlurmLab) -> None:
    session_id = ready(portal)
    job = lab.job_id(session_id)
    lab.ask("scontrol", "suspend", job)
    asked = portal.stack.log().count("POST /hub/daas/reconcile")
    wait_until(lambda: portal.stack.log().count("POST /hub/daas/reconcile") > asked + 5, 30)
    assert list(lab.jobs().values()) == ["SUSPENDED"]
    assert portal.model(NAME)["ready"]
    assert portal.held("amara") == {session_id: "active"}
    lab.ask("scontrol", "resume", job)
    assert works(portal)


def test_a_session_is_not_queued_again_by_accident(portal: Portal, lab: SlurmLab) -> None:
    session_id = ready(portal)
    lab.ask("scontrol", "requeue", lab.job_id(session_id), check=False)
    assert list(lab.jobs().values()) == ["RUNNING"]
    assert works(portal)


@pytest.mark.parametrize("daemon", ["munged", "slurmctld"])
def test_a_cluster_that_is_away_loses_no_session(portal: Portal, lab: SlurmLab, daemon: str) -> None:
    session_id = ready(portal)
    with quiet_log(portal.stack):
        lab.end(daemon)
        unknown = portal.stack.log().count("unknown, kept")
        wait_until(lambda: portal.stack.log().count("unknown, kept") >= unknown + 3, 60)
        assert works(portal)
        assert portal.held("amara") == {session_id: "active"}
    lab.mend()
    assert works(portal)
    portal.stop(NAME, remove=True)
    assert gone(portal, lab)


def test_a_stop_while_the_cluster_is_away_is_carried_out_later(portal: Portal, lab: SlurmLab) -> None:
    session_id = ready(portal)
    lab.end("slurmctld")
    portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}")
    wait_until(lambda: "cannot be ended" in portal.stack.log(), 60)
    # Its job may still run: what it holds is not given to others.
    assert session_id in portal.held("amara")
    lab.mend()
    wait_until(lambda: not lab.jobs() and not portal.held("amara"), 60)


def test_a_start_while_the_cluster_is_away_waits_for_it(portal: Portal, lab: SlurmLab) -> None:
    lab.end("slurmctld")
    start(portal)
    wait_until(lambda: "does not answer" in progress(portal), 60, what="the person is told")
    lab.mend()
    portal.wait_ready(NAME, seconds=90)
    assert lab.jobs() == {f"daas-{portal.hub_id}-{portal.session_id(NAME)}": "RUNNING"}


def test_a_start_while_the_cluster_is_away_can_be_cancelled(portal: Portal, lab: SlurmLab) -> None:
    lab.end("slurmctld")
    start(portal)
    wait_until(lambda: "does not answer" in progress(portal), 60, what="the person is told")
    portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}")
    wait_until(lambda: not portal.model(NAME).get("pending"), 60, what="nothing is under way")
    lab.mend()
    wait_until(lambda: not lab.jobs() and not portal.held("amara"), 60)


def test_a_start_for_which_the_cluster_stays_away_is_given_up(portal: Portal, lab: SlurmLab) -> None:
    lab.end("slurmctld")
    assert "Nothing became free" in portal.refusal(NAME, wanted("impatient"))
    lab.mend()
    # The controller may have taken the job and only failed to say so: what is held is so until that is known.
    wait_until(lambda: not lab.jobs() and not portal.held("amara"), 60)


@pytest.mark.parametrize("crash", [False, True], ids=["in order", "killed"])
def test_a_session_that_waits_outlives_the_hub(portal: Portal, lab: SlurmLab, crash: bool) -> None:
    filling = lab.fill("--nodes=2", "--ntasks=32", "--time=10")
    wait_until(lambda: lab.jobs().get("fill") == "RUNNING", 20)
    start(portal)
    wait_until(lambda: len(lab.jobs()) == 2, 20)
    session_id = portal.session_id(NAME)
    job = lab.job_id(session_id)
    if crash:
        portal.stack.kill_hub()
    else:
        portal.stack.stop_hub()
    portal.stack.start_hub()
    assert lab.job_id(session_id) == job
    lab.ask("scancel", filling)
    portal.wait_ready(NAME, seconds=90)
    assert portal.session_id(NAME) == session_id
    assert lab.jobs() == {f"daas-{portal.hub_id}-{session_id}": "RUNNING"}
    wait_until(lambda: portal.held("amara") == {session_id: "active"}, 30)
    assert works(portal)


def test_a_session_that_begins_while_the_hub_is_away_comes_up(portal: Portal, lab: SlurmLab) -> None:
    filling = lab.fill("--nodes=2", "--ntasks=32", "--time=10")
    wait_until(lambda: lab.jobs().get("fill") == "RUNNING", 20)
    start(portal)
    wait_until(lambda: len(lab.jobs()) == 2, 20)
    session_id = portal.session_id(NAME)
    portal.stack.kill_hub()
    lab.ask("scancel", filling)
    wait_until(lambda: "RUNNING" in lab.jobs().values(), 30)
    portal.stack.start_hub()
    portal.wait_ready(NAME, seconds=90)
    assert portal.session_id(NAME) == session_id
    assert works(portal)


def test_a_job_speaks_once_and_only_for_itself(portal: Portal, lab: SlurmLab) -> None:
    filling = lab.fill("--nodes=2", "--ntasks=32", "--time=10")
    wait_until(lambda: lab.jobs().get("fill") == "RUNNING", 20)
    start(portal)
    wait_until(lambda: len(lab.jobs()) == 2, 20)
    session_id = portal.session_id(NAME)
    code = code_in(lab.ask("scontrol", "write", "batch_script", lab.job_id(session_id), "-"))
    secret, foreign = "5" * 64, "6" * 64

    def call(what: str, proof: str, body: object, session: str = session_id) -> int:
        url = f"{portal.stack.hub_url}/hub/daas/jobs/{session}/{what}"
        headers = {"Authorization": f"DaaS-Job {proof}"}
        return requests.post(url, json=body, headers=headers, timeout=60).status_code

    assert call("launch", foreign, {"secret": secret}) == 403
    assert call("launch", code, {"secret": secret}, "0" * 16) == 403
    assert call("launch", portal.stack.service_token, {"secret": secret}) == 403
    assert call("port", code, {"port": 8888}) == 403
    assert call("launch", code, {"secret": secret, "ip": "10.0.0.1"}) == 400
    assert call("launch", code, {"secret": secret}) == 200
    assert call("launch", code, {"secret": foreign}) == 409
    assert call("port", foreign, {"port": 8888}) == 403
    for body in ({"port": 80}, {"port": "8888"}, {"port": 8888, "cmd": ["id"]}, [8888], {"port": "8" * 900}):
        assert call("port", secret, body) == 400, body
    assert call("port", secret, {"port": 8888}) == 200
    assert call("port", secret, {"port": 8889}) == 409
    portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}", json={"remove": True})
    wait_until(lambda: set(lab.jobs()) == {"fill"} and not portal.held("amara"), 60)
    assert call("port", secret, {"port": 8888}) == 403
    lab.ask("scancel", filling)


def code_in(script: str) -> str:
    """Return the code in a job's script, as its owner can read it."""
    line = next(line for line in script.splitlines() if line.startswith("GIVEN = "))
    held: dict[str, str] = {}
    exec(line, held)
    return str(json.loads(held["GIVEN"])["code"])


def ended(portal: Portal, session_id: str) -> str:
    """Return why lifecycle ended a session of amara's; empty if it did not."""
    token = portal.stack.token("amara")
    told = portal.stack.call("lifecycle", "GET", "people/amara/sessions", token=token).json()
    return next((each["reason"] for each in told["endings"] if each["session_id"] == session_id), "")


def is_warned(portal: Portal) -> bool:
    """Tell whether amara's page says that the session ends soon."""
    page = portal.stack.login("amara").get(f"{portal.stack.url}/hub/home", timeout=30).text
    return "This session ends" in page and "its time is almost over" in page


def test_a_session_whose_time_is_known_ends_in_order(portal: Portal, lab: SlurmLab) -> None:
    session_id = ready(portal, "brief")
    job = lab.job_id(session_id)
    assert "TimeLimit=00:01:00" in lab.ask("scontrol", "show", "job", "-o", job)
    state = portal.model(NAME)["state"]
    expires = datetime.fromisoformat(state["expires_at"])
    created = datetime.fromisoformat(state["created"])
    # A tenth, or two minutes, are for its end.
    assert expires - created == timedelta(seconds=54)
    wait_until(lambda: is_warned(portal), 40, what="she is warned")
    wait_until(lambda: ended(portal, session_id), 90, what="lifecycle ends it")
    assert ended(portal, session_id) == "expired"
    wait_until(lambda: not lab.jobs() and not portal.held("amara"), 60)
    # It was us, and not Slurm.
    assert "JobState=CANCELLED" in lab.ask("scontrol", "show", "job", "-o", job)


def test_a_session_whose_time_staff_shortens_is_warned_and_ends_in_order(
    portal: Portal, lab: SlurmLab
) -> None:
    session_id = ready(portal)
    assert not is_warned(portal)
    job = lab.job_id(session_id)
    lab.ask("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    wait_until(lambda: is_warned(portal), 40, what="she is warned")
    wait_until(lambda: ended(portal, session_id), 90, what="lifecycle ends it")
    assert ended(portal, session_id) == "expired"
    wait_until(lambda: not lab.jobs() and not portal.held("amara"), 60)
    assert "JobState=CANCELLED" in lab.ask("scontrol", "show", "job", "-o", job)
