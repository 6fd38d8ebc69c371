"""People with real accounts on this machine, whose jobs are their own."""

import grp
import pwd
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tests.support.slurm_lab import let_pass
from tests.support.stack import Stack

# In another system all such accounts are of these tests: one that was killed leaves them with their numbers.
FORGET = """
for each in $(awk -F: '$3 >= 1000 && $3 < 60000 { print $1 }' /etc/passwd); do userdel --force "$each"; done
for each in $(awk -F: '$3 >= 1000 && $3 < 60000 { print $1 }' /etc/group); do groupdel --force "$each"; done
"""
NUMBERS = {"amara": 20001, "bruno": 20002, "edgar": 20006}


@dataclass(frozen=True)
class People:
    """The directory's people under names that no other test's accounts have, and the group that all are in.

    Of edgar the directory has a wrong number.
    """

    names: Mapping[str, str]
    group: str

    def put_into(self, stack: Stack) -> None:
        """Give the directory's people the names, numbers and groups of their accounts here."""
        for file in ("facility.yaml", "accounts.yaml"):
            path = stack.folder / file
            text = path.read_text()
            for name, renamed in self.names.items():
                if file == "facility.yaml":
                    entry = pwd.getpwnam(renamed)
                    number, uid = NUMBERS[name], entry.pw_uid + (name == "edgar")
                    text = text.replace(f"uid: {number}\n", f"uid: {uid}\n    groups: [{self.group}]\n")
                    text = text.replace(f"gid: {number}\n", f"gid: {entry.pw_gid}\n")
                text = text.replace(name, renamed)
            path.write_text(text)


def new_people() -> People:
    """Return people whose accounts are still to be made."""
    mark = secrets.token_hex(3)
    return People({name: f"{name}-{mark}" for name in NUMBERS}, f"p{mark}")


@contextmanager
def accounts_of(people: People, homes: Path, *, also_in: Sequence[str] = ()) -> Iterator[None]:
    """Make the accounts, for as long as the tests run; also in the system that a command goes to."""
    let_pass(homes)
    try:
        subprocess.run(["groupadd", people.group], check=True)
        for name in people.names.values():
            place = ["--create-home", "--home-dir", str(homes / name)]
            group = ["--user-group", "--groups", people.group]
            subprocess.run(["useradd", *place, *group, name], check=True, capture_output=True)
            (homes / name).chmod(0o700)
        if also_in:
            _copy(people, homes, also_in)
        yield
    finally:
        if also_in:
            for name in people.names.values():
                subprocess.run([*also_in, "userdel", "--force", name], check=False, capture_output=True)
            subprocess.run([*also_in, "groupdel", people.group], check=False, capture_output=True)
        for name in people.names.values():
            subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
        subprocess.run(["groupdel", people.group], check=False, capture_output=True)


def _copy(people: People, homes: Path, command: Sequence[str]) -> None:
    subprocess.run([*command, "/bin/sh", "-ec", FORGET], check=True, capture_output=True)
    number = str(grp.getgrnam(people.group).gr_gid)
    subprocess.run([*command, "groupadd", "--gid", number, people.group], check=True)
    for name in people.names.values():
        entry = pwd.getpwnam(name)
        numbers = ["--uid", str(entry.pw_uid), "--gid", str(entry.pw_gid), "--groups", people.group]
        home = ["--no-create-home", "--home-dir", str(homes / name)]
        subprocess.run([*command, "groupadd", "--gid", str(entry.pw_gid), name], check=True)
        subprocess.run([*command, "useradd", *numbers, *home, name], check=True, capture_output=True)


@contextmanager
def sudo_rule(
    account: str,
    group: str,
    *,
    programs: Path | None = None,
    tokens: bool = False,
    root: Path = Path("/"),
) -> Iterator[None]:
    """Have sudo heed the rule that we ship, for an account and a group of these tests.

    `programs` stand before Slurm's; `tokens` adds the line for these; `root` is the system's.
    """
    rule = (files("jupyterhub_daas") / "spawners" / "backends" / "slurm" / "sudoers").read_text()
    if tokens:
        rule = rule.replace("# daas-hub ALL", "daas-hub ALL")
    rule = rule.replace("daas-hub", account).replace("daas-people", group)
    if programs is not None:
        for name in ("sbatch", "scancel"):
            rule = rule.replace(f"/usr/bin/{name}", str(programs / name))
    place = root / "etc" / "sudoers.d" / f"daas-test-{account}-{secrets.token_hex(3)}"
    place.touch(mode=0o440)
    place.write_text(rule)
    try:
        subprocess.run(["visudo", "-cf", str(place)], check=True, capture_output=True)
        yield
    finally:
        place.unlink()
