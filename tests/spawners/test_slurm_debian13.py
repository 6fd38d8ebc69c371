"""The Slurm of Debian 13, by the same scripts: reached by SSH, and by a later version of slurmrestd."""

import os
from collections.abc import Iterator

import pytest

from tests.spawners.portal import PROPOSAL, Portal, quiet_log
from tests.spawners.slurm_far import FarCluster
from tests.spawners.slurm_people import new_people
from tests.spawners.slurm_portal import options_of, slurm_settings
from tests.support.labs import LABS, cache
from tests.support.stack import ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another system")

NAME = "brave-curie"
WE = new_people()
AMARA = WE.names["amara"]
WANTED = {"proposal": PROPOSAL, "environment": "works"}
PROFILES = {
    # That partition ends jobs after four hours.
    "gpu": options_of("gpu", flavours={"gpu": {"partition": "gpu", "walltime_hours": 4}}),
    "nowhere": options_of("nowhere", partition="nowhere"),
    "down": options_of("down", partition="down"),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarCluster]:
    """The cluster, in a Debian 13."""
    folder = tmp_path_factory.mktemp("debian13")
    program, kept = LABS / "slurm" / "debian13", cache()
    system = ["/usr/bin/env", f"DAAS_CACHE={kept}", str(program), str(folder), str(ROOT), "--"]
    with FarCluster(folder, WE, system=system, root=kept / "labs" / "slurm" / "debian13").up() as found:
        yield found


@pytest.fixture(scope="module", params=["ssh", "rest"])
def far(cluster: FarCluster, request: pytest.FixtureRequest) -> Iterator[Portal]:
    """A portal whose hub is on Debian 12, and goes one of the ways."""
    with cluster.portal(request.param, slurm_settings(**PROFILES)) as found:
        yield found


@pytest.fixture
def portal(far: Portal, cluster: FarCluster) -> Iterator[Portal]:
    """The portal without any session."""
    yield far
    far.clean()
    cluster.lab.clean()


def start(portal: Portal, **options: str) -> str:
    """Start a session, wait until it can be entered, and return its id."""
    answer = portal.start(NAME, {**WANTED, **options}, AMARA)
    assert answer.status_code in (201, 202), answer.text
    portal.wait_ready(NAME, AMARA, seconds=90)
    return portal.session_id(NAME, AMARA)


def test_a_session_runs_is_listed_and_ends(portal: Portal, cluster: FarCluster) -> None:
    assert "24.11" in cluster.lab.ask("sbatch", "--version")
    with quiet_log(portal.stack):
        session_id = start(portal, environment="gpu", flavour="gpu")
        job = cluster.lab.ask("scontrol", "show", "job", "-o", cluster.lab.job_id(session_id))
        for words in (
            f"UserId={AMARA}(",
            "NumCPUs=1 ",
            "mem=512M",
            "gres/gpu",
            "Requeue=0",
            "TimeLimit=04:00:00",
        ):
            assert words in job
        assert portal.run(NAME, "cat /etc/debian_version", AMARA).startswith("13")
        portal.stop(NAME, AMARA, remove=True)
    wait_until(lambda: not cluster.lab.jobs() and not portal.held(AMARA), 60)


def test_a_start_that_waits_says_why_and_can_be_cancelled(portal: Portal, cluster: FarCluster) -> None:
    cluster.lab.fill("--nodes=2", "--ntasks=32", "--time=10")
    wait_until(lambda: cluster.lab.jobs().get("fill") == "RUNNING", 60)
    assert portal.start(NAME, WANTED, AMARA).status_code in (201, 202)
    with portal.stack.admin_stream(f"/users/{AMARA}/servers/{NAME}/progress", seconds=240) as lines:
        assert any("free resources" in line and "Expected to start by" in line for line in lines)
    portal.stack.admin("DELETE", f"/users/{AMARA}/servers/{NAME}", json={"remove": True})
    wait_until(lambda: set(cluster.lab.jobs()) == {"fill"} and not portal.held(AMARA), 60)


def test_a_session_that_is_cancelled_there_is_closed(portal: Portal, cluster: FarCluster) -> None:
    cluster.lab.ask("scancel", cluster.lab.job_id(start(portal)))
    wait_until(lambda: not portal.model(NAME, AMARA).get("ready") and not portal.held(AMARA), 60)


@pytest.mark.parametrize(("key", "words"), [("nowhere", "not there"), ("down", "takes no sessions")])
def test_what_the_cluster_refuses_is_said_in_words(portal: Portal, key: str, words: str) -> None:
    with quiet_log(portal.stack):
        assert words in portal.refusal(NAME, {"proposal": PROPOSAL, "environment": key}, AMARA)
