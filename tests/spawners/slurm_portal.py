"""A portal whose sessions are jobs of a real Slurm, all under one account that is nobody's."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.spawners.portal import MODES, SERVER, Portal, small_settings
from tests.support.slurm_lab import SlurmLab, let_pass, slurm_backend
from tests.support.stack import Stack, unprivileged

EXTRA = "c.DaasSpawner.backends = {backends!r}\n"
# The GPU partition's flavour, and one that fills a node.
FLAVOURS = {
    "small": {"title": "Small", "cpus": 1, "memory": "512M"},
    "medium": {"title": "Medium", "cpus": 2, "memory": "1G"},
    "node": {"title": "A whole machine", "cpus": 16, "memory": "1G"},
    "gpu": {"title": "With a GPU", "cpus": 1, "memory": "512M", "gpus": 1},
}


def slurm_profile(mode: str, **options: Any) -> dict[str, Any]:
    """Return a profile whose sessions are small servers on the cluster."""
    command = ["/usr/bin/python3", str(SERVER), mode]
    return {
        "environment": mode,
        "backend": "slurm",
        "flavours": list(FLAVOURS),
        "options": {"command": command, "flavours": {"gpu": {"partition": "gpu"}}, **options},
    }


def slurm_settings(**profiles: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a portal with the ways to fail, and one further environment for each profile."""
    whole = small_settings()
    named = {
        **{mode: slurm_profile(mode) for mode in MODES},
        "never": slurm_profile("never", start_seconds=4),
        **{key: {**slurm_profile("works"), "environment": key, **each} for key, each in profiles.items()},
    }
    whole["profiles"] = named
    whole["environments"] = {key: {"title": key.title(), "kind": "jupyter"} for key in named}
    whole["flavours"] = FLAVOURS
    return whole


def options_of(key: str, **more: Any) -> dict[str, Any]:
    """Return a profile's entry with these options on top of a working session's."""
    return {"options": {**slurm_profile("works")["options"], **more}}


@contextmanager
def slurm_portal(folder: Path, settings: dict[str, Any], **more: Any) -> Iterator[tuple[Portal, SlurmLab]]:
    """Start a lab and a portal on it, both of the same unprivileged account."""
    prefix, uid = unprivileged()
    place = folder / "lab"
    place.mkdir(parents=True)
    let_pass(place)
    if prefix:
        os.chown(place, uid, -1)
    lab = SlurmLab(place, prefix=prefix)
    stack = None
    try:
        lab.start()
        backends = {"slurm": slurm_backend(lab, homes=str(folder / "stack" / "homes"), **more)}
        stack = Stack(folder / "stack", settings=settings, extra=EXTRA.format(backends=backends))
        yield Portal(stack.start(), ("amara", "bruno", "edgar")), lab
    finally:
        if stack is not None:
            stack.stop()
        lab.stop()
