"""A hub that root runs, as in production: each session is the person's own Unix account, and no more."""

import grp
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.spawners.portal import PROPOSAL, Portal, small_settings
from tests.support.stack import Stack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts and run such a hub")

# amara and bruno are members of the first proposal, amara and edgar of the second.
ACCOUNTS = {"amara": [PROPOSAL, "20190417"], "bruno": [PROPOSAL], "edgar": ["20190417"]}
OPTIONS = {"proposal": PROPOSAL, "environment": "works"}


def group_of(proposal: str) -> str:
    """Return the Unix group of a proposal's members."""
    return f"p{proposal}"


class Accounts:
    """Real accounts on this machine, for as long as the tests run."""

    def __init__(self, folder: Path) -> None:
        self.made: list[list[str]] = []
        for group in sorted({group for groups in ACCOUNTS.values() for group in groups}):
            self._run(["groupadd", group_of(group)], ["groupdel", group_of(group)])
        for name, groups in ACCOUNTS.items():
            own = ",".join(group_of(group) for group in groups)
            home = str(folder / name)
            self._run(
                ["useradd", "--create-home", "--home-dir", home, "--user-group", "--groups", own, name],
                ["userdel", "--force", "--remove", name],
            )
            Path(home).chmod(0o700)

    def _run(self, command: list[str], undo: list[str]) -> None:
        # What an earlier run left when it was killed goes first.
        subprocess.run(undo, check=False, capture_output=True)
        subprocess.run(command, check=True, capture_output=True)
        self.made.append(undo)

    def close(self) -> None:
        """Delete them again."""
        for undo in reversed(self.made):
            subprocess.run(undo, check=False, capture_output=True)


def real_directory(stack: Stack) -> None:
    """Give the people of the directory the numbers that their accounts have here."""
    path = stack.folder / "facility.yaml"
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    for name, groups in ACCOUNTS.items():
        entry = pwd.getpwnam(name)
        content["people"][name] |= {
            "uid": entry.pw_uid,
            "gid": entry.pw_gid,
            "groups": [group_of(group) for group in groups],
        }
    path.write_text(yaml.safe_dump(content))


def lay_out(stack: Stack) -> None:
    """Give the proposals' folders to root and the members' group."""
    for proposal in {group for groups in ACCOUNTS.values() for group in groups}:
        folder = stack.folder / "data" / proposal
        (folder / "raw" / "spectrum.mca").write_text(f"counts of {proposal}\n")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 0, grp.getgrnam(group_of(proposal)).gr_gid)
            path.chmod(0o2750 if path.is_dir() else 0o640)
        (folder / "processed").chmod(0o2770)


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal whose hub is root."""
    folder = tmp_path_factory.mktemp("production")
    for parent in (folder, *folder.parents):
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    (folder / "homes").mkdir()
    (folder / "homes").chmod(0o711)
    accounts = Accounts(folder / "homes")
    sizes = {
        key: {"title": key.title(), "cpus": 0.25, "memory": "200M", "storage": "1G"}
        for key in ("small", "medium")
    }
    stack = Stack(folder / "stack", settings=small_settings(flavours=sizes), as_root=True)
    try:
        real_directory(stack)
        lay_out(stack)
        yield Portal(stack.start(), ("amara", "bruno", "edgar"))
    finally:
        stack.stop()
        accounts.close()


@pytest.fixture(scope="module")
def sessions(portal: Portal) -> Iterator[Portal]:
    """A session of each member of the first proposal, and one of somebody else."""
    for person in ("amara", "bruno"):
        answer = portal.start("brave-curie", OPTIONS, person)
        assert answer.status_code in (201, 202), answer.text
    portal.start("brave-curie", {**OPTIONS, "proposal": "20190417"}, "edgar")
    for person in ("amara", "bruno", "edgar"):
        portal.wait_ready("brave-curie", person)
    yield portal
    portal.clean()


def shell(portal: Portal, person: str, command: str) -> str:
    """Run a command in a person's session."""
    return portal.run("brave-curie", f"({command}) 2>&1", person)


@pytest.mark.parametrize("person", ["amara", "bruno", "edgar"])
def test_a_session_is_the_persons_own_account(sessions: Portal, person: str) -> None:
    entry = pwd.getpwnam(person)
    groups = sorted(os.getgrouplist(person, entry.pw_gid))
    said = shell(
        sessions, person, "id -ru; id -u; id -rg; id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '; pwd"
    )
    uid, effective, gid, rest = said.split("\n", 3)
    assert (int(uid), int(effective), int(gid)) == (entry.pw_uid, entry.pw_uid, entry.pw_gid)
    assert sorted(int(each) for each in rest.split()[:-1]) == groups
    assert rest.split()[-1] == entry.pw_dir


def test_every_process_of_a_session_is_the_persons(sessions: Portal) -> None:
    family = sessions.family(sessions.session_id("brave-curie", "amara"))
    assert len(family) >= 3
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in family} == {pwd.getpwnam("amara").pw_uid}


def test_a_session_is_held_to_its_flavour(sessions: Portal) -> None:
    eats = "import sys; sys.stdout.write(str(len(bytearray(600 << 20))))"
    assert shell(sessions, "amara", f"python3 -c '{eats}'; echo ended with $?").endswith("ended with 137\n")
    spins = "import time; end = time.monotonic() + 2\nwhile time.monotonic() < end: pass\n"
    used = shell(sessions, "amara", f"python3 -c '{spins}print(time.process_time())'")
    # A quarter of a cpu for two seconds, and what a period may leave over.
    assert float(used) < 0.8
    # The session itself goes on, and can't leave its group.
    own = shell(sessions, "amara", "grep :memory: /proc/self/cgroup | cut -d: -f3").strip()
    assert own.endswith(sessions.session_id("brave-curie", "amara"))
    above = f"/sys/fs/cgroup/memory{own.rpartition('/')[0]}/cgroup.procs"
    assert "ermission denied" in shell(sessions, "amara", f"echo $$ >{above}")


def test_one_person_cannot_read_the_others_files(sessions: Portal) -> None:
    shell(sessions, "amara", "echo secret > ~/notes.txt")
    home = pwd.getpwnam("amara").pw_dir
    assert shell(sessions, "amara", f"cat {home}/notes.txt") == "secret\n"
    assert "Permission denied" in shell(sessions, "bruno", f"cat {home}/notes.txt")
    assert "Permission denied" in shell(sessions, "bruno", f"ls {home}")


def test_one_person_cannot_read_or_end_the_others_session(sessions: Portal) -> None:
    child = sessions.model("brave-curie", "amara")["state"]["child"]
    assert "denied" in shell(sessions, "bruno", f"cat /proc/{child['pid']}/environ")
    assert "not permitted" in shell(sessions, "bruno", f"kill -9 {child['pid']}")
    assert "JUPYTERHUB_API_TOKEN" not in shell(sessions, "bruno", f"ps -o args= -p {child['pid']}")


def test_a_proposals_folder_is_for_its_members_only(sessions: Portal) -> None:
    raw = f"{sessions.stack.folder}/data/{PROPOSAL}/raw/spectrum.mca"
    for person in ("amara", "bruno"):
        assert (
            shell(sessions, person, f"cat ~/proposals/{PROPOSAL}/raw/spectrum.mca")
            == f"counts of {PROPOSAL}\n"
        )
    assert "Permission denied" in shell(sessions, "edgar", f"cat {raw}")
    assert shell(sessions, "edgar", "ls ~/proposals") == "20190417\n"


def test_members_write_to_processed_and_not_to_raw(sessions: Portal) -> None:
    folder = f"~/proposals/{PROPOSAL}"
    shell(sessions, "amara", f"umask 002; echo fit > {folder}/processed/fit.txt")
    assert shell(sessions, "bruno", f"cat {folder}/processed/fit.txt") == "fit\n"
    assert "Permission denied" in shell(sessions, "amara", f"echo x > {folder}/raw/new.txt")
    assert "Permission denied" in shell(sessions, "amara", f"echo x > {folder}/raw/spectrum.mca")


def test_a_session_cannot_read_what_the_hub_keeps(sessions: Portal) -> None:
    for name in ("cookie-secret", "state/hub-id", "state/quotas.sqlite", "state/crypt-key"):
        path = sessions.stack.folder / name
        assert path.exists()
        assert "Permission denied" in shell(sessions, "amara", f"cat {path}")


def test_links_in_a_home_never_make_root_write_elsewhere(portal: Portal) -> None:
    home = Path(pwd.getpwnam("edgar").pw_dir)
    target = portal.stack.folder / "root-only"
    target.mkdir(mode=0o700)
    (home / "proposals").rename(home / "moved")
    (home / "proposals").symlink_to(target)
    try:
        answer = portal.start("calm-bohr", {**OPTIONS, "proposal": "20190417"}, "edgar")
        assert answer.status_code == 502
        assert "must be a real folder" in answer.json()["message"]
        assert list(target.iterdir()) == []
    finally:
        (home / "proposals").unlink()
        (home / "moved").rename(home / "proposals")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"uid": 54321}, "another number"),
        ({"gid": 54321}, "another number"),
        ({"groups": ["wheel-of-fortune"]}, "wheel-of-fortune"),
    ],
    ids=["uid", "gid", "group"],
)
def test_refuses_an_account_that_the_machine_knows_otherwise(
    portal: Portal, changed: dict[str, Any], words: str
) -> None:

    def person(name: str) -> dict[str, Any]:
        found: dict[str, Any] = portal.stack.call("proposals", "GET", f"people/{name}").json()
        return found

    path = portal.stack.folder / "facility.yaml"
    before = path.read_text()
    content = yaml.safe_load(before)
    content["people"]["bruno"] |= changed
    path.write_text(yaml.safe_dump(content))
    try:
        wait_until(lambda: changed.items() <= person("bruno").items(), 20, what="the directory is read again")
        answer = portal.start("calm-bohr", OPTIONS, "bruno")
        assert (answer.status_code, answer.reason) == (403, "account_unknown")
        assert words in answer.json()["message"]
    finally:
        path.write_text(before)
    wait_until(lambda: not changed.items() <= person("bruno").items(), 20, what="the directory is read again")
    wait_until(lambda: "calm-bohr" not in portal.names("bruno"), 30, what="the refused start left no row")


def test_stopping_ends_all_of_a_persons_session_and_nothing_of_the_others(sessions: Portal) -> None:
    ids = {person: sessions.session_id("brave-curie", person) for person in ("amara", "bruno")}
    sessions.run("brave-curie", "env -i setsid nohup sleep 600 >/dev/null 2>&1 &", "amara")
    before = sessions.family(ids["bruno"])
    family = sessions.family(ids["amara"])
    sessions.stop("brave-curie", "amara")
    assert [pid for pid in family if Path(f"/proc/{pid}").exists()] == []
    uid = pwd.getpwnam("amara").pw_uid
    assert subprocess.run(["pgrep", "-u", str(uid)], capture_output=True, check=False).stdout == b""
    assert sessions.family(ids["bruno"]) == before
    groups = [each.name for each in Path("/sys/fs/cgroup/memory").rglob("*") if each.name in ids.values()]
    assert groups == [ids["bruno"]]
