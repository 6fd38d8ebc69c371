"""What a cluster has free, from what oarnodes says of each resource and oarstat of the jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.spawners.backends.oar.cli import cores
from jupyterhub_daas.spawners.backends.oar.options import OarOptions

MIB = 1 << 20


def count(
    resources: Mapping[str, Any], busy: Set[int], flavour: Flavour, options: OarOptions
) -> Availability:
    """Return what is free of a flavour; resources have the keys and words of ``oarnodes --json``."""
    needed = options.gpu if flavour.gpus else options.core
    amount = flavour.gpus or cores(_up(flavour.cpus), _up(flavour.memory / MIB), options)
    there = [each for each in resources.values() if each.get("type") == "default" and each.get(needed)]
    if not _places(there, needed, amount, options):
        return Availability(flavour=flavour.key, fits=False, reason="No machine of the cluster is that big.")
    alive = [each for each in there if each.get("state") == "Alive" and each.get("drain") != "YES"]
    if not alive:
        return Availability(
            flavour=flavour.key, free=0, reason="This part of the cluster is closed at present."
        )
    taken = {(each.get(options.host), each[needed]) for each in there if int(each["resource_id"]) in busy}
    idle = [each for each in alive if (each.get(options.host), each[needed]) not in taken]
    free = _places(idle, needed, amount, options)
    reason = "" if free else "All machines of the cluster for this are in use."
    return Availability(flavour=flavour.key, free=free, reason=reason)


def _places(resources: Sequence[Mapping[str, Any]], needed: str, amount: int, options: OarOptions) -> int:
    """Return how many sessions fit: a core or GPU may be several resources, and counts once."""
    units = {(each.get(options.host), each[needed]) for each in resources}
    return sum(number // amount for number in Counter(host for host, _unit in units).values())


def _up(value: float) -> int:
    return max(1, int(-(-value // 1)))
