"""Whose account a job has: the person's own, never root's, and never one on which the parts disagree."""

import asyncio
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import AccountUnknownError
from jupyterhub_daas.spawners.backends.local.accounts import find_account, shared_account


@dataclass(frozen=True)
class JobAccount:
    """An account as the cluster knows it; `home` is None for the account's own there.

    `groups` are the ids that a process of the hub's machine gets; empty where the account is not known here.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str | None = None


async def local_account(person: Person) -> JobAccount:
    """Return the person's account on the hub's own machine; raise unless it is as the directory says."""
    found = await asyncio.to_thread(find_account, person)
    return JobAccount(found.name, found.uid, found.gid, found.groups)


async def shared_job_account(person: Person, homes: str) -> JobAccount:
    """Return the hub's own account, with a home for this person: for a demo."""
    found = await asyncio.to_thread(shared_account, person, Path(homes))
    return JobAccount(found.name, os.geteuid(), os.getegid(), home=found.home)


def cluster_account(person: Person) -> JobAccount:
    """Return the account that the directory says the person has; the job itself checks it, where it runs."""
    return JobAccount(person.username, person.uid, person.gid)


async def far_account(name: str) -> JobAccount:
    """Return the account under whose name a job runs on machines that the hub does not know; never root's."""
    if not matches(USERNAME, name) or name == "root":
        raise AccountUnknownError("A job runs under an account that no session has.")
    return JobAccount(name, -1, -1, home="~")


async def account_of_job(name: str) -> JobAccount:
    """Return the account on this machine under whose name a job runs; never root's."""

    def find() -> JobAccount:
        entry = pwd.getpwnam(name)
        groups = tuple(os.getgrouplist(name, entry.pw_gid))
        return JobAccount(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)

    try:
        found = await asyncio.to_thread(find)
    except KeyError:
        found = None
    if found is None or 0 in (found.uid, found.gid) or not matches(USERNAME, name):
        raise AccountUnknownError("A job runs under an account that no session has.")
    return found
