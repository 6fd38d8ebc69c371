"""Which Unix account a session runs under: never 0, never one on which facility and machine disagree."""

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import AccountUnknownError, BackendError

SHELL = "/bin/bash"
NOT_ROOT = "A session never runs as root or in its group."


@dataclass(frozen=True)
class Account:
    """A Unix account as a process gets it; `groups` are all of its group ids."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str = SHELL

    @property
    def identity(self) -> dict[str, Any]:
        """Return what makes a process the account's."""
        return {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}


def find_account(person: Person) -> Account:
    """Return the person's own account; raise unless this machine knows it as the facility does. Blocks."""
    name = person.username
    account = account_named(name)
    if 0 in (person.uid, person.gid):
        raise _refusal(NOT_ROOT)
    titles = {grp.getgrgid(each).gr_name for each in account.groups}
    if (account.uid, account.gid) != (person.uid, person.gid):
        raise _refusal(f"Account {name} has another number on this machine than in the facility's directory.")
    if missing := sorted(set(person.groups) - titles):
        raise _refusal(f"Account {name} lacks these groups on this machine: {', '.join(missing)}.")
    return account


def account_named(name: str) -> Account:
    """Return the account that this machine has of this name; raise if it has none, or root's. Blocks."""
    try:
        entry = pwd.getpwnam(name)
        groups = tuple(os.getgrouplist(name, entry.pw_gid))
        for each in groups:
            grp.getgrgid(each)
    except KeyError as error:
        raise _refusal(f"This machine has no account {name}, or lacks one of its groups.") from error
    if 0 in (entry.pw_uid, entry.pw_gid, *groups):
        raise _refusal(NOT_ROOT)
    return Account(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, entry.pw_shell or SHELL)


def shared_account(person: Person, homes: Path) -> Account:
    """Return the hub's own account with a home for this person, made where it is missing. Blocks."""
    if os.geteuid() == 0:
        raise _refusal("A session never runs as root.")
    home = homes / person.username
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"Your home folder {home} cannot be made: {error.strerror}.") from error
    return Account(person.username, os.geteuid(), os.getegid(), (), str(home))


def _refusal(what: str) -> AccountUnknownError:
    return AccountUnknownError(f"{what} Please tell the support team.")
