"""Tell the programs of a session who they are: an image knows nobody of the facility.

Without a name for its number a desktop does not start, and a shell calls its owner nobody. The two files are
made of the pod's own annotations, so that they need no further object and no further right.
"""

import re
from collections.abc import Mapping
from typing import Any

from jupyterhub_daas.core.people import Person
from jupyterhub_daas.spawners.backends.groups import refuse_root

# What these files can hold: a name of another form keeps its number and has no line.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
VOLUME = "accounts"
FILES = ("passwd", "group")


def gids_in(groups: Mapping[str, int]) -> list[int]:
    """Return the numbers of groups, each once; raise BackendError if root's is among them."""
    refuse_root(groups)
    return sorted(set(groups.values()))


def build_files(person: Person, home: str, groups: Mapping[str, int]) -> dict[str, str]:
    """Return the content of ``/etc/passwd`` and ``/etc/group``: root, nobody, and this person."""
    named = {name: gid for name, gid in groups.items() if NAME.fullmatch(name)}
    own = {} if person.gid in named.values() else {person.username: person.gid}
    lines = [f"{name}:x:{gid}:" for name, gid in {**own, **named}.items()]
    passwd = (
        "root:x:0:0:root:/root:/usr/sbin/nologin",
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
        f"{person.username}:x:{person.uid}:{person.gid}::{home}:/bin/bash",
    )
    group = ("root:x:0:", "tty:x:5:", "nogroup:x:65534:", *lines)
    return {"passwd": "\n".join((*passwd, "")), "group": "\n".join((*group, ""))}


def volume_of(prefix: str) -> dict[str, Any]:
    """Return the volume whose files are annotations of the pod."""
    items = [
        {"path": file, "fieldRef": {"fieldPath": f"metadata.annotations['{prefix}/{file}']"}}
        for file in FILES
    ]
    return {"name": VOLUME, "downwardAPI": {"items": items}}


def mounts() -> list[dict[str, Any]]:
    """Return where the files are in a session."""
    return [
        {"name": VOLUME, "mountPath": f"/etc/{file}", "subPath": file, "readOnly": True} for file in FILES
    ]
