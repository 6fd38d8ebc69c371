"""A hub that root runs, with Slurm: a job is the person's own, and nothing of the hub's reaches it."""

import asyncio
import os
import pwd
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import pytest

from jupyterhub_daas.core.catalogue import Environment, Flavour, Profile
from jupyterhub_daas.core.names import ADJECTIVES
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import AccountUnknownError, NotFoundError
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount, local_account
from jupyterhub_daas.spawners.backends.batch.commands import LocalRunner
from jupyterhub_daas.spawners.backends.slurm import SlurmBackend
from tests.spawners.portal import PROPOSAL, Portal
from tests.spawners.slurm_injection import HOSTILE, KEYS, ODD, WAYS, Way, script_of, words_of
from tests.spawners.slurm_people import accounts_of, new_people, sudo_rule
from tests.spawners.slurm_portal import EXTRA, options_of, slurm_settings
from tests.support.slurm_lab import INTERVAL_SECONDS, SlurmLab, let_pass, slurm_backend
from tests.support.slurm_spy import SlurmSpy
from tests.support.stack import ACCOUNT, Stack, unprivileged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts and run such a hub")

NAME = "brave-curie"
WE = new_people()
PEOPLE, GROUP = WE.names, WE.group
MEMBERS = [PEOPLE["amara"], PEOPLE["bruno"]]
SECRET = secrets.token_hex(16)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Real accounts on this machine, for as long as the tests run."""
    with accounts_of(WE, tmp_path_factory.mktemp("homes")):
        yield


@pytest.fixture(scope="module")
def spy(tmp_path_factory: pytest.TempPathFactory) -> SlurmSpy:
    """What the hub gives to Slurm's programs."""
    folder = tmp_path_factory.mktemp("spy")
    let_pass(folder)
    return SlurmSpy(folder / "programs")


@pytest.fixture(scope="module")
def both(
    accounts: None, spy: SlurmSpy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Portal, SlurmLab]]:
    """A portal whose hub is root, and a Slurm whose jobs are the people's."""
    folder = tmp_path_factory.mktemp("slurm-root")
    (folder / "lab").mkdir()
    let_pass(folder / "lab")
    lab = SlurmLab(folder / "lab")
    stack = None
    try:
        lab.start()
        stack = Stack(
            folder / "stack",
            settings=slurm_settings(odd=options_of("odd", **ODD)),
            extra=EXTRA.format(backends={"slurm": slurm_backend(lab, programs=str(spy.folder))}),
            as_root=True,
            environment={"CONFIGPROXY_SPY": SECRET},
        )
        WE.put_into(stack)
        stack.start()
        for name, renamed in PEOPLE.items():
            stack.login(renamed, f"{name}-facility")
        yield Portal(stack, tuple(PEOPLE.values())), lab
    finally:
        if stack is not None:
            stack.stop()
        lab.stop()


@pytest.fixture(scope="module")
def session(both: tuple[Portal, SlurmLab]) -> Iterator[Portal]:
    """A portal with a session of each."""
    portal, _lab = both
    for person in MEMBERS:
        answer = portal.start(NAME, {"proposal": PROPOSAL, "environment": "works"}, person)
        assert answer.status_code in (201, 202), answer.text
    for person in MEMBERS:
        portal.wait_ready(NAME, person, seconds=90)
    yield portal
    portal.clean()


def shell(portal: Portal, command: str, person: str = "amara") -> str:
    """Run a command in a person's session."""
    return portal.run(NAME, f"({command}) 2>&1", PEOPLE[person])


@pytest.mark.parametrize("person", ["amara", "bruno"])
def test_a_job_is_the_persons_own_account(session: Portal, person: str) -> None:
    entry = pwd.getpwnam(PEOPLE[person])
    groups = sorted(os.getgrouplist(PEOPLE[person], entry.pw_gid))
    said = shell(session, "id -u; id -ru; id -g; pwd; id -G", person).splitlines()
    assert said[:4] == [str(entry.pw_uid), str(entry.pw_uid), str(entry.pw_gid), entry.pw_dir]
    assert sorted(int(each) for each in said[4].split()) == groups
    assert len(groups) == 2


def test_the_limits_of_the_flavour_are_asked_for(session: Portal, both: tuple[Portal, SlurmLab]) -> None:
    lab = both[1]
    job = lab.ask("scontrol", "show", "job", "-o", lab.job_id(session.session_id(NAME, PEOPLE["amara"])))
    assert f"UserId={PEOPLE['amara']}(" in job
    assert "NumCPUs=1 " in job
    assert "mem=512M" in job
    assert "Requeue=0" in job


def test_no_secret_is_where_others_can_read(session: Portal, both: tuple[Portal, SlurmLab]) -> None:
    lab, person = both[1], PEOPLE["amara"]
    token = shell(session, "printf %s $JUPYTERHUB_API_TOKEN")
    assert len(token) >= 32
    job = lab.job_id(session.session_id(NAME, person))
    assert token not in lab.ask("scontrol", "show", "job", "-dd", job)
    assert token not in lab.ask("scontrol", "write", "batch_script", job, "-")
    state = str(session.model(NAME, person)["state"])
    assert token not in state
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in lines if token.encode() in line]
    # Nothing of the hub's own environment is in that of a process which the person can read.
    seen = shell(session, "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | sort -u")
    assert f"JUPYTERHUB_API_TOKEN={token}" in seen
    assert "CONFIGPROXY" not in seen
    assert SECRET not in seen
    # The first is how the local backend tells its own processes: a job on the hub's machine is none of them.
    for variable in ("DAAS_HUB_ID", "SLURM_CPUS_ON_NODE", "SBATCH_", "SLURM_JOB_NAME"):
        assert variable not in shell(session, "env")


def test_only_what_is_allowed_reaches_a_program(
    session: Portal, both: tuple[Portal, SlurmLab], spy: SlurmSpy
) -> None:
    """Nothing in the profile's file, nor of the person, and nothing of the hub: her processes are readable to
    her."""
    lab, person = both[1], PEOPLE["amara"]
    session.stop(NAME, person, remove=True)
    spy.forget()
    session.start(NAME, {"proposal": PROPOSAL, "environment": "odd"}, person)
    session.wait_ready(NAME, person, seconds=90)
    session_id = session.session_id(NAME, person)
    (call,) = spy.calls("sbatch")
    assert call.words == words_of(session, session_id)
    assert call.stdin == script_of(call, session, session_id, person, name=NAME, group=GROUP)
    assert call.uid == pwd.getpwnam(person).pw_uid
    # All that was written reaches the session as it was written.
    seen = shell(session, "tr '\\0' '\\n' </proc/$PPID/cmdline; env -0 | tr '\\0' '|'")
    for number, value in enumerate(HOSTILE):
        assert f"\n{value}\n" in seen
        assert f"|ODD_{number}={value}|" in seen
    session.stop(NAME, person, remove=True)
    allowed = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "SLURM_TIME_FORMAT": "%s",
        "SLURM_CONF": lab.conf,
    }
    calls = {name: spy.calls(name) for name in ("sbatch", "squeue", "scancel", "sinfo")}
    assert calls["squeue"]
    assert calls["scancel"]
    for each in (call for found in calls.values() for call in found):
        assert each.environment == allowed
    assert {tuple(each.words) for each in calls["scancel"]} == {(lab.job_id(session_id),)}
    listing = ("--noheader", "--all", "--states=all", "--format=%j|%i|%T|%u|%B|%S|%e|%r")
    assert {tuple(each.words) for each in calls["squeue"]} == {listing}
    answer = session.start(NAME, {"proposal": PROPOSAL, "environment": "works"}, person)
    assert answer.status_code in (201, 202)
    session.wait_ready(NAME, person, seconds=90)


def test_many_that_start_at_once_share_one_question_in_each_interval(session: Portal, spy: SlurmSpy) -> None:
    starts = [(f"{word}-bohr", person) for word in ADJECTIVES[:3] for person in MEMBERS]
    spy.forget()
    begun_at = time.monotonic()
    for name, person in starts:
        session.start(name, {"proposal": PROPOSAL, "environment": "slow"}, person)
    for name, person in starts:
        session.wait_ready(name, person, seconds=90)
    asked = spy.calls("squeue")
    # And one may have been under way before.
    assert len(asked) <= 2 + (asked[-1].begun_at - begun_at) / INTERVAL_SECONDS
    for name, person in starts:
        session.stop(name, person, remove=True)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_hostile_words_reach_no_program(session: Portal, spy: SlurmSpy, way: Way) -> None:
    spy.forget()
    for key, value in zip(cycle(KEYS), HOSTILE, strict=False):
        options = {"proposal": PROPOSAL, "environment": "works", key: value}
        assert 400 <= way(session, PEOPLE["bruno"], options, value).status_code < 500
    assert spy.calls("sbatch") == []
    assert spy.calls("scancel") == []


@pytest.mark.parametrize("value", HOSTILE)
async def test_a_group_of_another_form_is_refused_before_any_program(accounts: None, value: str) -> None:
    entry = pwd.getpwnam(PEOPLE["amara"])
    known = Person(username=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, groups=(GROUP,))
    assert (await local_account(known)).name == entry.pw_name
    with pytest.raises(AccountUnknownError):
        await local_account(known.model_copy(update={"groups": (GROUP, value)}))


def test_nobody_ends_the_job_of_another(session: Portal, both: tuple[Portal, SlurmLab]) -> None:
    lab = both[1]
    job = lab.job_id(session.session_id(NAME, PEOPLE["amara"]))
    said = shell(session, f"SLURM_CONF={lab.conf} scancel {job}", "bruno")
    assert "denied" in said
    assert shell(session, "echo here") == "here\n"


def test_an_account_whose_number_differs_starts_nothing(both: tuple[Portal, SlurmLab]) -> None:
    portal, lab = both
    before = lab.jobs()
    said = portal.refusal(NAME, {"proposal": "20190417", "environment": "works"}, PEOPLE["edgar"])
    assert "another number" in said
    assert lab.jobs() == before


def test_the_log_is_the_persons_alone(session: Portal) -> None:
    entry = pwd.getpwnam(PEOPLE["amara"])
    log = Path(entry.pw_dir) / ".daas" / f"{NAME}.log"
    assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (entry.pw_uid, 0o600)
    assert "denied" in shell(session, f"cat {log}", "bruno")


class Known:
    """A session as far as its log is concerned."""

    def __init__(self, person: str, log_name: str) -> None:
        self.user, self.log_name = SimpleNamespace(name=person), log_name


def test_the_log_is_read_with_the_persons_rights(session: Portal, both: tuple[Portal, SlurmLab]) -> None:
    person = PEOPLE["amara"]
    folder = Path(pwd.getpwnam(person).pw_dir) / ".daas"
    with (folder / f"{NAME}.log").open("a") as log:
        log.write("one line\nthe last line\n")
    backend = SlurmBackend(hub_id="0" * 8, shared_account=False, options={"conf": both[1].conf})
    here, other = Known(person, f"{NAME}.log"), Known(person, "shadow.log")
    backend.sessions.update({"5" * 16: here, "6" * 16: other})  # type: ignore[dict-item]
    assert asyncio.run(backend.read_log("5" * 16, lines=1)) == "the last line\n"
    # A link in a home leads only to where the person can read.
    (folder / "shadow.log").symlink_to("/etc/shadow")
    for unreadable in ("6" * 16, "7" * 16):
        with pytest.raises(NotFoundError):
            asyncio.run(backend.read_log(unreadable, lines=1))


def test_what_is_free_is_counted_on_the_cluster(both: tuple[Portal, SlurmLab]) -> None:
    backend = SlurmBackend(hub_id="0" * 8, shared_account=False, options={"conf": both[1].conf})
    settings = slurm_settings()
    profile = Profile(key="works", **{**settings["profiles"]["works"], "flavours": ("gpu", "node", "vast")})
    backend.check_profile(profile, Environment(key="works", title="Works", kind="jupyter"))
    flavours = [
        Flavour(key=key, title=key, cpus=cpus, memory=1 << 29, gpus=gpus)
        for key, cpus, gpus in (("gpu", 1, 2), ("node", 16, 0), ("vast", 17, 0), ("elsewhere", 1, 0))
    ]
    found = {each.flavour: each for each in asyncio.run(backend.resources(flavours))}
    assert set(found) == {"gpu", "node", "vast"}
    assert [found[key].fits for key in ("gpu", "node", "vast")] == [True, True, False]
    assert found["gpu"].free == 1
    assert found["node"].free in (0, 1, 2)


# --- the rule for a hub that is not root


@pytest.fixture(scope="module")
def sudo(accounts: None) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """The rule that we ship, for the tests' own account and people; asked as that account."""
    prefix, _uid = unprivileged()

    def ask(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [*prefix, "sudo", "-n", *words]
        environment = {"PATH": "/usr/bin:/bin", **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True, input="", cwd="/")

    with sudo_rule(ACCOUNT, GROUP):
        yield ask


def test_the_rule_lets_a_hub_submit_and_cancel_as_a_person(
    sudo: Callable[..., subprocess.CompletedProcess[str]], both: tuple[Portal, SlurmLab]
) -> None:
    lab, person = both[1], PEOPLE["amara"]
    runner = LocalRunner({"PATH": "/usr/bin:/bin", "SLURM_CONF": lab.conf}, seconds=60, sudo="/usr/bin/sudo")
    account = JobAccount(person, pwd.getpwnam(person).pw_uid, pwd.getpwnam(person).pw_gid)
    words = ["sbatch", "--parsable", "--no-requeue", "--output=/dev/null", "--job-name=rule", "--chdir=/"]
    # The runner's own words, as the hub's account says them.
    command = runner.command([f"/usr/bin/{words[0]}", *words[1:]], account)
    assert command[:2] == ["/usr/bin/sudo", "-n"]
    prefix, _uid = unprivileged()
    submitted = subprocess.run(
        [*prefix, *command],
        env={"PATH": "/usr/bin:/bin", "SLURM_CONF": lab.conf, "SPY": SECRET},
        input="#!/bin/sh\nsleep 600\n",
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    assert f"UserId={person}(" in lab.ask("scontrol", "show", "job", "-o", job)
    cancelled = sudo("-u", person, "--", "/usr/bin/scancel", job, SLURM_CONF=lab.conf)
    assert cancelled.returncode == 0, cancelled.stderr


FORBIDDEN = {
    "a shell": ("-u", "{person}", "--", "/bin/sh", "-c", "id"),
    "root": ("-u", "root", "--", "/usr/bin/sbatch", "--parsable", "--no-requeue", "--version"),
    "root by its number": ("-u", "#0", "--", "/usr/bin/scancel", "1"),
    "another account": ("-u", "daemon", "--", "/usr/bin/scancel", "1"),
    "another group": ("-u", "{person}", "-g", "root", "--", "/usr/bin/scancel", "1"),
    "another program": ("-u", "{person}", "--", "/usr/bin/scontrol", "show", "config"),
    "other words": ("-u", "{person}", "--", "/usr/bin/sbatch", "--wrap=id"),
    "an environment": ("-u", "{person}", "-E", "--", "/usr/bin/scancel", "1"),
    "one variable": ("-u", "{person}", "LD_PRELOAD=/tmp/x", "/usr/bin/scancel", "1"),
    "editing": ("-u", "{person}", "-e", "/etc/hosts"),
}


@pytest.mark.parametrize("words", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_the_rule_lets_a_hub_do_nothing_else(
    sudo: Callable[..., subprocess.CompletedProcess[str]], words: tuple[str, ...]
) -> None:
    done = sudo(*(word.format(person=PEOPLE["amara"]) for word in words))
    assert done.returncode == 1
    assert "sudo:" in done.stderr
    assert "uid=" not in done.stdout
