"""The numbers of a person's groups, for sessions on machines that don't ask the facility themselves."""

import grp
import logging
from collections.abc import Mapping

from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import BackendError

log = logging.getLogger("jupyterhub_daas.spawners")


def groups_of(person: Person, known: Mapping[str, int]) -> dict[str, int]:
    """Return a person's groups and their numbers: those that are known, else this machine's.

    One that nobody knows is left out and so grants nothing. May block: for a thread. Raises BackendError if
    one is root's.
    """
    found = {}
    for name in person.groups:
        gid = known.get(name)
        if gid is None:
            try:
                gid = grp.getgrnam(name).gr_gid
            except KeyError:
                log.warning("Group %s of %s has no number: it is left out", name, person.username)
                continue
        found[name] = gid
    refuse_root(found)
    return found


def refuse_root(groups: Mapping[str, int]) -> None:
    """Raise BackendError if root's group is among these."""
    for name, gid in groups.items():
        if gid == 0:
            raise BackendError(
                "A session never runs with root's group. Please tell the support team.", group=name
            )
