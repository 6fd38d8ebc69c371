"""A hub that is not on the cluster, by SSH and by slurmrestd: the same sessions, and nobody else's rights."""

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
import requests

from tests.spawners.portal import PROPOSAL, Portal, quiet_log
from tests.spawners.slurm_far import FarCluster
from tests.spawners.slurm_injection import HOSTILE, KEYS, ODD, WAYS, script_of, words_of
from tests.spawners.slurm_people import new_people
from tests.spawners.slurm_portal import options_of, slurm_settings
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts and a login node")

NAME = "brave-curie"
WE = new_people()
AMARA, BRUNO, EDGAR = WE.names.values()
PROFILES = {
    "odd": options_of("odd", **ODD),
    "down": options_of("down", partition="down"),
    "nowhere": options_of("nowhere", partition="nowhere"),
    "admin": options_of("admin", partition="admin"),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarCluster]:
    """The cluster."""
    with FarCluster(tmp_path_factory.mktemp("far"), WE).up() as found:
        yield found


@pytest.fixture(scope="module", params=["ssh", "rest"])
def way(request: pytest.FixtureRequest) -> str:
    """How the hub reaches the cluster."""
    return str(request.param)


@pytest.fixture(scope="module")
def far(cluster: FarCluster, way: str) -> Iterator[Portal]:
    """A portal that goes this way."""
    with cluster.portal(way, slurm_settings(**PROFILES)) as found:
        yield found


@pytest.fixture
def portal(far: Portal, cluster: FarCluster) -> Iterator[Portal]:
    """The portal without any session."""
    yield far
    cluster.lab.mend()
    far.clean()
    cluster.lab.clean()


def begin(portal: Portal, key: str = "works", person: str = AMARA) -> None:
    """Start a session."""
    answer = portal.start(NAME, {"proposal": PROPOSAL, "environment": key}, person)
    assert answer.status_code in (201, 202), answer.text


def ready(portal: Portal, key: str = "works", person: str = AMARA) -> str:
    """Start a session, wait until it can be entered, and return its id."""
    begin(portal, key, person)
    portal.wait_ready(NAME, person, seconds=90)
    return portal.session_id(NAME, person)


def told(portal: Portal, words: str) -> str:
    """Wait until a start's page shows these words, and return the line."""
    path = f"/users/{AMARA}/servers/{NAME}/progress"
    with portal.stack.admin_stream(path, seconds=240) as lines:
        return next(line for line in lines if words in line)


def body_of(portal: Portal, session_id: str) -> dict[str, Any]:
    """Return all that a submission of the small flavour says to slurmrestd, less its script."""
    return {
        "name": f"daas-{portal.hub_id}-{session_id}",
        "nodes": 1,
        "tasks": 1,
        "cpus_per_task": 1,
        "memory_per_node": 512,
        "time_limit": 480,
        "current_working_directory": "/",
        "standard_input": "/dev/null",
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
        "requeue": False,
        "environment": {"PATH": "/usr/bin:/bin"},
    }


def submissions(cluster: FarCluster) -> int:
    """Return how many were asked for, whichever way."""
    assert cluster.rest is not None
    by_rest = [call for call in cluster.rest.calls if call[1] in ("POST", "DELETE")]
    return len(by_rest) + len(cluster.spy.calls("sbatch")) + len(cluster.spy.calls("scancel"))


def test_a_session_is_the_persons_own_and_only_what_is_allowed_reaches_the_cluster(
    portal: Portal, cluster: FarCluster, way: str
) -> None:
    assert cluster.rest is not None
    cluster.spy.forget()
    cluster.rest.calls.clear()
    with quiet_log(portal.stack):
        session_id = ready(portal, "odd")
        assert cluster.lab.jobs() == {f"daas-{portal.hub_id}-{session_id}": "RUNNING"}
        entry = pwd.getpwnam(AMARA)
        seen = portal.run(
            NAME, "id -u; pwd; tr '\\0' '\\n' </proc/$PPID/cmdline; env -0 | tr '\\0' '|'", AMARA
        )
        assert seen.startswith(f"{entry.pw_uid}\n{entry.pw_dir}\n")
        for number, value in enumerate(HOSTILE):
            assert f"\n{value}\n" in seen
            assert f"|ODD_{number}={value}|" in seen
        for variable in ("DAAS_HUB_ID", "SLURM_CPUS_ON_NODE", "SBATCH_", "SLURM_JOB_NAME", "SUDO_"):
            assert variable not in seen
        token = seen.partition("JUPYTERHUB_API_TOKEN=")[2].partition("|")[0]
        assert len(token) >= 32
        assert token not in cluster.lab.ask("scontrol", "show", "job", "-dd", cluster.lab.job_id(session_id))
        assert portal.stop(NAME, AMARA, remove=True).status_code in (202, 204)
        wait_until(lambda: not cluster.lab.jobs() and not portal.held(AMARA), 60)
    look = check_programs if way == "ssh" else check_requests
    look(portal, cluster, session_id)


def check_programs(portal: Portal, cluster: FarCluster, session_id: str) -> None:
    """Compare what programs on the login node were given, byte by byte."""
    assert cluster.rest is not None
    (call,) = cluster.spy.calls("sbatch")
    assert call.words == words_of(portal, session_id)
    assert call.stdin == script_of(call, portal, session_id, AMARA, name=NAME, group=WE.group)
    assert {tuple(each.words) for each in cluster.spy.calls("scancel")} == {(cluster.lab.job_id(session_id),)}
    ours = {
        "LC_ALL": "C.UTF-8",
        "SLURM_CONF": cluster.lab.conf,
        "PATH": "/usr/bin:/bin",
        "SLURM_TIME_FORMAT": "%s",
    }
    for each in cluster.spy.calls("squeue"):
        assert (each.environment, each.uid) == (ours, cluster.hub_uid)
    # Of what sudo sets, nothing is the hub's.
    by_sudo = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "MAIL", "TERM", "LC_ALL", "SLURM_CONF"}
    for each in (call, *cluster.spy.calls("scancel")):
        assert each.uid == pwd.getpwnam(AMARA).pw_uid
        assert {name for name in each.environment if not name.startswith("SUDO_")} <= by_sudo
        assert each.environment["SLURM_CONF"] == cluster.lab.conf
    assert cluster.rest.calls == []


def check_requests(portal: Portal, cluster: FarCluster, session_id: str) -> None:
    """Compare what slurmrestd was sent."""
    assert cluster.rest is not None
    ((who, _, path, body),) = [call for call in cluster.rest.calls if call[1] == "POST"]
    assert (who, path) == (AMARA, "/slurm/v0.0.38/job/submit")
    assert set(body) == {"script", "job"}
    assert body["job"] == body_of(portal, session_id)
    sent = SimpleCall(body["script"])
    assert sent.stdin == script_of(sent, portal, session_id, AMARA, name=NAME, group=WE.group)  # type: ignore[arg-type]
    ended = {call[:3] for call in cluster.rest.calls if call[1] == "DELETE"}
    assert ended == {(AMARA, "DELETE", f"/slurm/v0.0.38/job/{cluster.lab.job_id(session_id)}")}
    # What is asked for all is asked by an account without rights, with one question for one interval.
    lists = [call for call in cluster.rest.calls if call[1] == "GET" and call[2].endswith("/jobs")]
    assert lists
    assert {call[0] for call in lists} == {cluster.account}
    assert cluster.spy.calls("sbatch") == []


class SimpleCall:
    """A submission as far as its script is concerned."""

    def __init__(self, stdin: str) -> None:
        self.stdin = stdin


def test_hostile_words_reach_nobody(portal: Portal, cluster: FarCluster) -> None:
    before = submissions(cluster)
    for key, value in zip(cycle(KEYS), HOSTILE, strict=False):
        options = {"proposal": PROPOSAL, "environment": "works", key: value}
        assert 400 <= WAYS["rest"](portal, BRUNO, options, value).status_code < 500
    assert submissions(cluster) == before


def test_a_start_waits_for_its_place_and_can_be_cancelled(portal: Portal, cluster: FarCluster) -> None:
    cluster.lab.fill("--nodes=2", "--ntasks=32", "--time=10")
    wait_until(lambda: cluster.lab.jobs().get("fill") == "RUNNING", 20)
    begin(portal)
    # Slurm may tell the one before it knows the other.
    for words in ("Waiting for free resources on the cluster", "Expected to start by"):
        assert told(portal, words)
    portal.stack.admin("DELETE", f"/users/{AMARA}/servers/{NAME}", json={"remove": True})
    wait_until(lambda: set(cluster.lab.jobs()) == {"fill"} and not portal.held(AMARA), 60)


def test_a_session_that_is_cancelled_on_the_cluster_is_closed(portal: Portal, cluster: FarCluster) -> None:
    session_id = ready(portal)
    cluster.lab.ask("scancel", cluster.lab.job_id(session_id))
    wait_until(lambda: not portal.model(NAME, AMARA).get("ready") and not portal.held(AMARA), 60)


@pytest.mark.parametrize("way", ["rest"], indirect=True)
def test_a_session_that_is_queued_again_ends(portal: Portal, cluster: FarCluster) -> None:
    """What was in its memory is gone, and its address is another's."""
    session_id = ready(portal)
    job = cluster.lab.job_id(session_id)
    cluster.lab.ask("scontrol", "update", f"JobId={job}", "Requeue=1")
    cluster.lab.ask("scontrol", "requeue", job)
    wait_until(lambda: not portal.model(NAME, AMARA).get("ready") and not portal.held(AMARA), 60)
    wait_until(lambda: not cluster.lab.jobs(), 60, what="nothing runs")


@pytest.mark.parametrize(
    ("key", "words"),
    [("nowhere", "not there"), ("admin", "have it added"), ("down", "takes no sessions")],
)
def test_what_the_cluster_refuses_is_said_in_words(
    portal: Portal, cluster: FarCluster, key: str, words: str
) -> None:
    with quiet_log(portal.stack):
        assert words in portal.refusal(NAME, {"proposal": PROPOSAL, "environment": key}, AMARA)
        wait_until(lambda: not cluster.lab.jobs() and not portal.held(AMARA), 60)


def test_a_person_who_may_not_have_sessions_reads_whom_to_ask(portal: Portal, cluster: FarCluster) -> None:
    """The cluster's side decides, whatever the hub thinks."""
    subprocess.run(["gpasswd", "--delete", BRUNO, WE.group], check=True, capture_output=True)
    try:
        wanted = {"proposal": PROPOSAL, "environment": "works"}
        assert "have it added" in portal.refusal(NAME, wanted, BRUNO)
    finally:
        subprocess.run(["gpasswd", "--add", BRUNO, WE.group], check=True, capture_output=True)
    assert cluster.lab.jobs() == {}


@pytest.mark.parametrize("way", ["ssh"], indirect=True)
def test_a_job_in_another_account_than_the_directorys_ends(portal: Portal, cluster: FarCluster) -> None:
    """The hub does not know the cluster's accounts: the job looks for itself."""
    said = portal.refusal(NAME, {"proposal": "20190417", "environment": "works"}, EDGAR)
    assert "ended while it was starting" in said
    assert cluster.lab.jobs() == {}


def test_a_way_that_is_closed_loses_no_session(portal: Portal, cluster: FarCluster, way: str) -> None:
    session_id = ready(portal)
    with quiet_log(portal.stack):
        cluster.lab.end("sshd" if way == "ssh" else "slurmrestd")
        unknown = portal.stack.log().count("unknown, kept")
        wait_until(lambda: portal.stack.log().count("unknown, kept") >= unknown + 3, 60)
        assert portal.run(NAME, "echo here", AMARA) == "here\n"
        assert portal.held(AMARA) == {session_id: "active"}
    cluster.lab.mend()
    portal.stop(NAME, AMARA, remove=True)
    wait_until(lambda: not cluster.lab.jobs() and not portal.held(AMARA), 60)


@pytest.mark.parametrize("way", ["rest"], indirect=True)
def test_a_controller_that_is_away_is_waited_for(portal: Portal, cluster: FarCluster) -> None:
    cluster.lab.end("slurmctld")
    begin(portal)
    told(portal, "does not answer")
    assert portal.model(NAME, AMARA)["pending"] == "spawn"
    cluster.lab.mend()
    portal.wait_ready(NAME, AMARA, seconds=90)
    assert len(cluster.lab.jobs()) == 1


# --- what the keys can do


def ask_login_node(cluster: FarCluster, request: object, *more: str) -> dict[str, Any]:
    """Ask as whoever has the hub's key, and try to run something else on the way."""
    command = [*cluster.ssh_command(f"{cluster.folder}/own/ssh-key"), *more]
    text = request if isinstance(request, str) else json.dumps(request)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


SUBMIT = ["sbatch", "--parsable", "--no-requeue"]
FORBIDDEN: dict[str, object] = {
    "a shell": {"words": ["/bin/sh", "-c", "id"], "person": AMARA, "stdin": ""},
    "another program": {"words": ["scontrol", "show", "config"], "person": None, "stdin": ""},
    "a job of the hub's own account": {"words": SUBMIT, "person": None, "stdin": "#!/bin/sh\nid\n"},
    "another option": {"words": [*SUBMIT, "--uid=0"], "person": AMARA, "stdin": ""},
    "an option twice": {"words": [*SUBMIT, "--mem=1M", "--mem=2M"], "person": AMARA, "stdin": ""},
    "another place": {"words": [*SUBMIT, "--output=/etc/motd"], "person": AMARA, "stdin": ""},
    "a line break": {"words": [*SUBMIT, "--partition=cpu\n--uid=0"], "person": AMARA, "stdin": ""},
    "root": {"words": ["scancel", "1"], "person": "root", "stdin": ""},
    "a system account": {"words": ["scancel", "1"], "person": "slurm", "stdin": ""},
    "an option for a name": {"words": ["scancel", "1"], "person": "-u", "stdin": ""},
    "all jobs": {"words": ["scancel", "--me"], "person": AMARA, "stdin": ""},
    "another file": {"words": ["tail", "-n", "9", "--", "/etc/shadow"], "person": AMARA, "stdin": ""},
    "a file above": {"words": ["tail", "-n", "9", "--", "~/.daas/../x.log"], "person": AMARA, "stdin": ""},
    "no list": {"words": "squeue", "person": None, "stdin": ""},
    "no request": "\x00",
    "something long": "9" * (1 << 21),
}


@pytest.mark.parametrize("request_", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_the_key_of_a_hub_does_nothing_else(cluster: FarCluster, request_: object) -> None:
    cluster.spy.forget()
    answer = ask_login_node(cluster, request_)
    assert answer["status"] != 0
    assert answer["output"] == ""
    assert cluster.spy.calls("sbatch") == []
    assert cluster.spy.calls("scancel") == []


def test_the_key_of_a_hub_runs_no_other_command(cluster: FarCluster) -> None:
    words = ["squeue", "--noheader", "--all", "--states=all", "--format=%j"]
    answer = ask_login_node(cluster, {"words": words, "person": None, "stdin": ""}, "id; touch /tmp/x")
    assert answer["status"] == 0
    assert "uid=" not in answer["output"]


@pytest.mark.parametrize(
    "name", ["root", "slurm", "daemon", "", "x -u root", "$(id)", "x; id", "AMARA", "{amara} root"]
)
def test_the_key_for_tokens_gives_none_of_other_accounts(cluster: FarCluster, name: str) -> None:
    asked = name.replace("{amara}", AMARA)
    command = [*cluster.ssh_command(f"{cluster.folder}/own/rest-key"), *([asked] if asked else [])]
    done = subprocess.run(command, input="", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (77, "")


def test_a_token_is_good_for_its_person_only(cluster: FarCluster) -> None:
    assert cluster.rest is not None
    job = cluster.lab.fill("--time=5", "--mem=10")
    command = [*cluster.ssh_command(f"{cluster.folder}/own/rest-key"), AMARA]
    token = subprocess.run(command, input="", capture_output=True, text=True, check=True).stdout.strip()
    url = f"http://127.0.0.1:{cluster.rest.port}/slurm/v0.0.38/job/{job}"
    for name in (AMARA, "root", cluster.account):
        headers = {"X-SLURM-USER-NAME": name, "X-SLURM-USER-TOKEN": token.removeprefix("SLURM_JWT=")}
        assert requests.delete(url, headers=headers, timeout=30).json()["errors"]
    assert "fill" in cluster.lab.jobs()
    cluster.lab.clean()
