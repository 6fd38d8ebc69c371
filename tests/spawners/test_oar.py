"""Sessions as jobs of a real OAR: a hub that is not root, our rule for sudo, and people's own accounts."""

import json
import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.spawners.backends.batch.script import Given, build_script
from jupyterhub_daas.spawners.backends.oar.capacity import count
from jupyterhub_daas.spawners.backends.oar.options import OarOptions
from tests.spawners.portal import MODES, PLENTY, PROPOSAL, Portal, quiet_log, small_profile
from tests.spawners.slurm_injection import HOSTILE, KEYS, ODD, WAYS, Way
from tests.support.oar_lab import OarLab, oar_backend
from tests.support.slurm_spy import SlurmSpy
from tests.support.stack import ACCOUNT, Stack
from tests.support.waiting import wait_until

NAME = "brave-curie"
# Whose numbers are those of the directory; of edgar the lab's account has another one.
PEOPLE = {"amara": 20001, "bruno": 20002, "edgar": 20999}
GROUP = "daas-people"
PROFILES: dict[str, dict[str, Any]] = {
    "odd": ODD,
    "nowhere": {"queue": "nowhere"},
    "quantum": {"properties": "quantum='YES'"},
    "staff": {"queue": "admin"},
    "kind": {"types": ["unheard-of"]},
}
FLAVOURS = {
    "small": {"title": "Small", "cpus": 1, "memory": "512M"},
    "vast": {"title": "More than a machine has", "cpus": 64, "memory": "512M"},
}
SETTINGS = """
c.DaasSpawner.shared_account = False
c.DaasSpawner.backends = {backends!r}
"""


def settings() -> dict[str, Any]:
    """Return the settings of the portal: the ways to fail, and what OAR refuses."""
    works = small_profile("works")["options"]
    options = {mode: small_profile(mode)["options"] for mode in MODES}
    options |= {key: {**works, **more} for key, more in PROFILES.items()}
    return {
        "environments": {key: {"title": key.title(), "kind": "jupyter"} for key in options},
        "profiles": {
            key: {"environment": key, "backend": "oar", "flavours": list(FLAVOURS), "options": each}
            for key, each in options.items()
        },
        "flavours": FLAVOURS,
        "quotas": dict(PLENTY),
        "lifecycle": {"interval_seconds": 2, "grace_seconds": 4},
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OarLab]:
    """An OAR of these tests' own, which they may break, with the people's accounts."""
    found = OarLab(tmp_path_factory.mktemp("oar-lab"))
    try:
        found.start()
        for name, number in PEOPLE.items():
            found.add_account(name, "--uid", str(number))
        found.ask("groupadd", "--users", ",".join(PEOPLE), GROUP)
        with found.network():
            yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def spy(tmp_path_factory: pytest.TempPathFactory) -> SlurmSpy:
    """What the hub gives to OAR's programs."""
    folder = tmp_path_factory.mktemp("spy")
    folder.parent.chmod(0o711)
    folder.chmod(0o711)
    return SlurmSpy(folder / "programs", ("oarsub", "oarstat", "oardel", "oarnodes"))


@pytest.fixture(scope="module")
def whole(lab: OarLab, spy: SlurmSpy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal on the lab's submit host, and the rule that we ship, for the spy's programs."""
    backends = {"oar": oar_backend(programs=str(spy.folder))}
    stack = Stack(
        tmp_path_factory.mktemp("oar"),
        settings=settings(),
        extra=SETTINGS.format(backends=backends),
        environment={"CONFIGPROXY_SPY": "x" * 32},
    )
    lab.admit(stack)
    rule = (files("jupyterhub_daas") / "spawners" / "backends" / "oar" / "sudoers").read_text()
    text = rule.replace("daas-hub", ACCOUNT).replace("/usr/bin/oar", f"{spy.folder}/oar")
    place = lab.path("/etc/sudoers.d/daas")
    place.touch(mode=0o440)
    place.write_text(text)
    lab.ask("visudo", "-cf", "/etc/sudoers.d/daas")
    try:
        yield Portal(stack.start(), tuple(PEOPLE), patience=120.0)
    finally:
        stack.stop()


@pytest.fixture
def portal(whole: Portal, lab: OarLab, spy: SlurmSpy) -> Iterator[Portal]:
    """The portal without any session, and OAR without any job."""
    clear(whole, lab)
    spy.forget()
    yield whole
    lab.mend()
    clear(whole, lab)


def clear(portal: Portal, lab: OarLab) -> None:
    """End all sessions and jobs."""
    for person in PEOPLE:
        for name in portal.names(person):
            portal.stop(name, person, remove=True)
    lab.clean()


def start(portal: Portal, key: str = "works", person: str = "amara", **more: str) -> requests.Response:
    """Start a session."""
    answer = portal.start(NAME, {"proposal": PROPOSAL, "environment": key, **more}, person)
    assert answer.status_code in (201, 202), answer.text
    return answer


def ready(portal: Portal, key: str = "works", person: str = "amara") -> str:
    """Start a session, wait until it can be entered, and return its id."""
    start(portal, key, person)
    portal.wait_ready(NAME, person)
    return portal.session_id(NAME, person)


def scripts(lab: OarLab, person: str = "amara") -> list[Path]:
    """Return what a person's home holds of the hub's scripts."""
    return list(lab.path(f"/home/{person}").glob(".daas-*"))


def progress(portal: Portal) -> str:
    """Return what the page of a start that waits shows now."""
    said = ""
    try:
        with portal.stack.admin_stream(f"/users/amara/servers/{NAME}/progress", seconds=4) as lines:
            for line in lines:
                said += line + "\n"
    except requests.RequestException:
        # Nothing new came in the time that we read.
        return said
    return said


def words_of(portal: Portal, session_id: str) -> list[str]:
    """Return all that a submission of the small flavour says."""
    name = f"daas-{portal.hub_id}-{session_id}"
    return [
        f"--name={name}",
        "--directory=/",
        "--stdout=/dev/null",
        "--stderr=/dev/null",
        "--resource=/host=1/core=1,walltime=8:00:00",
        f"/usr/bin/python3 -IS /home/amara/.{name}.job",
    ]


def test_only_what_is_allowed_reaches_a_program(portal: Portal, lab: OarLab, spy: SlurmSpy) -> None:
    """Nothing in the profile's file, nor of the person, and nothing of the hub's environment."""
    with quiet_log(portal.stack):
        session_id = ready(portal, "odd")
        job = lab.jobs()[lab.job_id(session_id)]
        assert (job["owner"], job["state"]) == ("amara", "Running")
        # The job removed its script before it did anything else.
        assert scripts(lab) == []
        token = portal.run(NAME, "printf %s $JUPYTERHUB_API_TOKEN")
        assert len(token) >= 32
        assert token not in json.dumps(job)
        seen = portal.run(
            NAME, "id -un; id -u; pwd; tr '\\0' '\\n' </proc/$PPID/cmdline; env -0 | tr '\\0' '|'"
        )
        assert seen.startswith("amara\n20001\n/home/amara\n")
        for number, value in enumerate(HOSTILE):
            assert f"\n{value}\n" in seen
            assert f"|ODD_{number}={value}|" in seen
        assert f"|OAR_JOB_ID={job['Job_Id']}|" in seen
        for foreign in ("CONFIGPROXY", "SUDO_COMMAND", "OARDO_USER", "OAR_KEY"):
            assert foreign not in seen
        assert portal.stop(NAME, remove=True).status_code in (202, 204)
    assert not lab.jobs()
    assert portal.held("amara") == {}
    (submitted,) = spy.calls("oarsub")
    assert submitted.words == words_of(portal, session_id)
    assert submitted.stdin == ""
    assert submitted.uid == PEOPLE["amara"]
    cancelled = spy.calls("oardel")
    assert {tuple(each.words) for each in cancelled} == {(str(job["Job_Id"]),)}
    assert {each.uid for each in cancelled} == {PEOPLE["amara"]}
    mine = re.escape(f"--sql=job_name LIKE 'daas-{portal.hub_id}-%' AND (state NOT IN ")
    for each in spy.calls("oarstat"):
        if each.words != ["--json"]:
            assert each.words[:2] == ["--full", "--json"]
            assert re.fullmatch(mine + r"\('Terminated', 'Error'\) OR stop_time > \d+\)", each.words[2])
        assert each.environment == {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    # What sudo adds says who asked, and nothing else.
    for each in (submitted, *cancelled):
        own = {name: value for name, value in each.environment.items() if not name.startswith("SUDO_")}
        assert own.pop("PATH")
        assert own.pop("MAIL", "/var/mail/amara") == "/var/mail/amara"
        names = dict.fromkeys(("LOGNAME", "USER"), "amara")
        rest = {"LC_ALL": "C.UTF-8", "HOME": "/home/amara", "SHELL": "/bin/bash", **names}
        assert own == rest | ({"TERM": own["TERM"]} if "TERM" in own else {})


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_hostile_words_reach_no_program(whole: Portal, lab: OarLab, spy: SlurmSpy, way: Way) -> None:
    spy.forget()
    for key, value in zip(cycle(KEYS), HOSTILE, strict=False):
        options = {"proposal": PROPOSAL, "environment": "works", key: value}
        assert 400 <= way(whole, "bruno", options, value).status_code < 500
    assert spy.calls("oarsub") == []
    assert spy.calls("oardel") == []
    assert scripts(lab, "bruno") == []


def test_a_full_cluster_says_why_and_when_and_a_start_can_be_cancelled(portal: Portal, lab: OarLab) -> None:
    lab.fill()
    start(portal)
    wait_until(lambda: "Expected to start by" in progress(portal), 60, what="the moment is shown")
    assert "Waiting for free resources on the cluster" in progress(portal)
    assert portal.model(NAME)["pending"] == "spawn"
    session_id = portal.session_id(NAME)
    # What waits in her home is the script that we build, and for nobody else.
    (script,) = scripts(lab)
    assert (script.stat().st_uid, script.stat().st_mode & 0o777) == (PEOPLE["amara"], 0o600)
    text = script.read_text()
    code = re.search(r'"code": "([0-9a-f]{64})"', text)
    assert code is not None
    given = Given(
        url=f"{portal.stack.hub_url}/hub/daas/jobs/{session_id}/",
        code=code[1],
        uid=PEOPLE["amara"],
        gid=PEOPLE["amara"],
        log=f"{NAME}.log",
        is_file=True,
    )
    assert text == build_script(given, python="/usr/bin/python3")
    portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}", json={"remove": True})
    wait_until(lambda: set(lab.states()) == {"fill"} and not portal.held("amara"), 60)
    wait_until(lambda: scripts(lab) == [], 30, what="the script of a job that never ran is removed")


def test_a_session_that_waited_comes_up(portal: Portal, lab: OarLab) -> None:
    filling = lab.fill()
    start(portal)
    wait_until(lambda: len(lab.jobs()) == 2, 60)
    lab.delete(filling)
    portal.wait_ready(NAME)
    assert portal.held("amara") == {portal.session_id(NAME): "active"}


@pytest.mark.parametrize(
    ("key", "flavour", "reason", "words"),
    [
        ("works", "vast", "no_capacity", "smaller flavour"),
        ("nowhere", "small", "configuration", "not there"),
        ("quantum", "small", "configuration", "does not have"),
        ("kind", "small", "configuration", "kind of job"),
        ("staff", "small", "access", "may not use"),
    ],
)
def test_what_oar_refuses_is_told_at_once(
    portal: Portal, lab: OarLab, key: str, flavour: str, reason: str, words: str
) -> None:
    with quiet_log(portal.stack):
        options = {"proposal": PROPOSAL, "environment": key, "flavour": flavour}
        assert words in portal.refusal(NAME, options)
        wait_until(lambda: not portal.held("amara"), 30)
    assert f"reason={reason}" in portal.stack.log()
    assert lab.jobs() == {}
    assert scripts(lab) == []


def test_an_account_whose_number_differs_starts_nothing(portal: Portal, lab: OarLab, spy: SlurmSpy) -> None:
    options = {"proposal": "20190417", "environment": "works"}
    assert "another number" in portal.refusal(NAME, options, "edgar")
    assert spy.calls("oarsub") == []
    assert scripts(lab, "edgar") == []


def test_a_server_that_is_away_loses_no_session(portal: Portal, lab: OarLab) -> None:
    kept = ready(portal)
    lab.end("Almighty")
    # OAR keeps a job that its server has not heard of, and says that it failed.
    start(portal, person="bruno")
    wait_until(lambda: len(lab.jobs()) == 2, 60, what="the job is taken")
    assert portal.run(NAME, "echo goes on") == "goes on\n"
    assert portal.held("amara") == {kept: "active"}
    lab.mend()
    portal.wait_ready(NAME, "bruno")
    assert len(lab.jobs()) == 2
    assert portal.run(NAME, "echo goes on") == "goes on\n"


def test_a_stop_while_the_server_is_away_is_carried_out_later(portal: Portal, lab: OarLab) -> None:
    session_id = ready(portal)
    lab.end("Almighty")
    portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}")
    wait_until(lambda: "does not cancel job" in portal.stack.log(), 60)
    # Its job may still run: what it holds is not given to others.
    assert session_id in portal.held("amara")
    lab.mend()
    wait_until(lambda: not lab.jobs() and not portal.held("amara"), 90)


def test_nobody_ends_the_job_of_another(portal: Portal, lab: OarLab) -> None:
    job = lab.job_id(ready(portal))
    bruno = ["setpriv", "--reuid=bruno", "--regid=bruno", "--init-groups"]
    said = lab.ask("sh", "-c", f"{shlex.join(bruno)} oardel {job} 2>&1", check=False)
    assert "not the right user" in said
    assert portal.run(NAME, "echo here") == "here\n"


def test_what_is_free_is_counted_on_the_cluster(portal: Portal, lab: OarLab) -> None:
    ready(portal)
    resources = json.loads(lab.ask("oarnodes", "--json", "--sql=1=1"))
    busy = {each for job in lab.jobs().values() for each in job["assigned_resources"]}
    found = {
        cpus: count(resources, busy, Flavour(key="f", title="F", cpus=cpus, memory=1), OarOptions())
        for cpus in (1, 16, 17)
    }
    assert [found[1].free, found[16].free, found[17].fits] == [31, 1, False]


# --- the rule for a hub that is not root

FORBIDDEN = {
    "a shell": ("-u", "amara", "--", "/bin/sh", "-c", "id"),
    "root": ("-u", "root", "--", "{programs}/oardel", "1"),
    "root by its number": ("-u", "#0", "--", "{programs}/oardel", "1"),
    "another account": ("-u", "oar", "--", "{programs}/oardel", "1"),
    "another group": ("-u", "amara", "-g", "root", "--", "{programs}/oardel", "1"),
    "another program": ("-u", "amara", "--", "{programs}/oarstat"),
    "other words": ("-u", "amara", "--", "{programs}/oarsub", "id"),
    "another file": ("-u", "amara", "--", "/usr/bin/tee", "--", "/home/amara/.bashrc"),
    "a folder": ("-u", "amara", "--", "/usr/bin/rm", "-rf", "--", "/home/amara/x.job"),
    "an environment": ("-u", "amara", "-E", "--", "{programs}/oardel", "1"),
    "one variable": ("-u", "amara", "LD_PRELOAD=/tmp/x", "{programs}/oardel", "1"),
    "editing": ("-u", "amara", "-e", "/etc/hosts"),
}


@pytest.mark.parametrize("words", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_the_rule_lets_a_hub_do_nothing_else(
    whole: Portal, lab: OarLab, spy: SlurmSpy, words: tuple[str, ...]
) -> None:
    asked = [word.format(programs=spy.folder) for word in words]
    command = shlex.join([*lab.identity(ACCOUNT), "sudo", "-n", *asked])
    said = lab.ask("sh", "-c", f"{command} 2>&1; echo ended with $?", check=False)
    assert said.endswith("ended with 1\n")
    assert "sudo:" in said
    assert "uid=" not in said
