"""A hub that is not root, on one machine: sessions are the people's own, by Slurm and a rule of sudo."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import requests

from tests.spawners.portal import PROPOSAL, Portal
from tests.spawners.slurm_portal import EXTRA, slurm_settings
from tests.support.slurm_lab import SlurmLab, let_pass, slurm_backend
from tests.support.stack import ACCOUNT, Stack, unprivileged
from tests.support.unix_people import UnixPeople
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts and rules of sudo")

NAME, PASSWORD = "brave-curie", "amara-facility"
RULE = files("jupyterhub_daas") / "spawners" / "backends" / "slurm" / "sudoers"


@pytest.fixture(scope="module")
def people() -> Iterator[UnixPeople]:
    """Accounts of this machine."""
    with UnixPeople() as made:
        yield made


@pytest.fixture(scope="module")
def amara(people: UnixPeople, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An account with a home that nobody else may enter."""
    home = tmp_path_factory.mktemp("homes") / "amara"
    let_pass(home.parent)
    username = people.add("amara", PASSWORD, "--user-group", "--home-dir", str(home))
    home.mkdir(mode=0o700)
    os.chown(home, pwd.getpwnam(username).pw_uid, pwd.getpwnam(username).pw_gid)
    return username


@pytest.fixture(scope="module")
def rule(amara: str) -> Iterator[None]:
    """The rule that we ship, for the hub's account and the person's own group in the place of everybody's."""
    unprivileged()
    place = Path("/etc/sudoers.d") / f"daas-test-{amara}"
    place.touch(mode=0o440)
    place.write_text(RULE.read_text().replace("daas-hub", ACCOUNT).replace("daas-people", amara))
    try:
        subprocess.run(["visudo", "--check", "--file", str(place)], check=True, capture_output=True)
        yield
    finally:
        place.unlink()


@pytest.fixture(scope="module")
def portal(amara: str, rule: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal whose hub is nobody in particular, and a Slurm that root runs, on one machine."""
    folder = tmp_path_factory.mktemp("unprivileged")
    (folder / "lab").mkdir()
    let_pass(folder / "lab")
    lab, stack = SlurmLab(folder / "lab"), None
    try:
        lab.start()
        backends = {"slurm": slurm_backend(lab)}
        extra = EXTRA.format(backends=backends) + "c.DaasSpawner.shared_account = False\n"
        stack = Stack(folder / "stack", settings=slurm_settings(), extra=extra)
        _rename(stack, amara)
        stack.start().login(amara, PASSWORD)
        running = Portal(stack, (amara,), things=lambda _hub: frozenset(lab.jobs()), patience=90)
        yield running
    finally:
        if stack is not None:
            stack.stop()
        lab.stop()


def _rename(stack: Stack, username: str) -> None:
    """Give the directory's person the name and numbers of the account."""
    entry = pwd.getpwnam(username)
    for file in ("facility.yaml", "accounts.yaml"):
        path = stack.folder / file
        text = path.read_text().replace("amara", username)
        text = text.replace("uid: 20001\n", f"uid: {entry.pw_uid}\n")
        path.write_text(text.replace("gid: 20001\n", f"gid: {entry.pw_gid}\n"))


def test_a_session_is_the_persons_though_the_hub_is_nobody(portal: Portal, amara: str) -> None:
    entry, hub = pwd.getpwnam(amara), Path(f"/proc/{portal.stack.hub_pid()}").stat()
    assert hub.st_uid not in (0, entry.pw_uid)
    answer = portal.start(NAME, {"proposal": PROPOSAL, "environment": "works"}, amara)
    assert answer.status_code in (201, 202), answer.text
    portal.wait_ready(NAME, amara)
    whose = portal.run(NAME, "id -u; id -g; cd; pwd; echo the last words >/proc/$PPID/fd/1", amara)
    assert whose.split() == [str(entry.pw_uid), str(entry.pw_gid), entry.pw_dir]
    # Read as the person, whom nobody else may ask: the hub's own account is refused.
    log = f"{portal.stack.url}/hub/daas/sessions/{amara}/{NAME}/log"
    token = portal.stack.token(amara)
    read = requests.get(log, headers={"Authorization": f"token {token}"}, timeout=60)
    assert "the last words" in read.json()["text"]
    prefix, _uid = unprivileged()
    assert subprocess.run([*prefix, "ls", entry.pw_dir], capture_output=True).returncode != 0

    assert portal.stop(NAME, amara).status_code in (202, 204)
    wait_until(lambda: not portal.living(), portal.patience, what="no job is left")
