"""Write a container image as an archive on stdout, for `ctr images import`: no registry, no container engine.

Usage: image.py pause NAME PROGRAM       the program that holds a pod's namespaces
       image.py host NAME                an empty root: pods mount the machine's own /usr into it
       image.py layers NAME LAYER.tar…   what was made elsewhere
"""

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

FOLDERS = "usr opt etc proc sys dev run var var/lib var/log var/tmp home root mnt srv".split()
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Names only: nothing of the machine's own accounts.
PASSWD = "root:x:0:0:root:/:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUP = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"

Entry = tuple[str, int, str | bytes | None]


def host_entries() -> Iterator[Entry]:
    """Yield a root whose programs come from mounts."""
    for folder in FOLDERS:
        yield folder, 0o755, None
    yield "tmp", 0o1777, None
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            yield name, 0o777, f"usr/{name}"
    yield "etc/passwd", 0o644, PASSWD.encode()
    yield "etc/group", 0o644, GROUP.encode()
    yield "etc/nsswitch.conf", 0o644, b"passwd: files\ngroup: files\nhosts: files dns\n"


def layer(entries: Iterator[Entry]) -> bytes:
    """Pack folders (no content), links (text) and files (bytes); the same entries give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, mode, content in entries:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return packed.getvalue()


def write_image(name: str, layers: list[bytes], command: list[str]) -> None:
    """Write an archive as `docker save` does."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": command or None, "Env": [PATH]},
        "rootfs": {
            "type": "layers",
            "diff_ids": ["sha256:" + hashlib.sha256(each).hexdigest() for each in layers],
        },
    }
    packed = json.dumps(config, sort_keys=True).encode()
    config_name = hashlib.sha256(packed).hexdigest() + ".json"
    files = {f"layer{number}.tar": each for number, each in enumerate(layers)}
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": list(files)}]
    parts = {config_name: packed, **files, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for part, content in parts.items():
            info = tarfile.TarInfo(part)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def main(kind: str, name: str, *given: str) -> None:
    """Write the image that the arguments ask for."""
    if kind == "pause":
        write_image(name, [layer(iter([("pause", 0o755, Path(given[0]).read_bytes())]))], ["/pause"])
    elif kind == "host":
        write_image(name, [layer(host_entries())], [])
    else:
        write_image(name, [Path(each).read_bytes() for each in given], [])


if __name__ == "__main__":
    main(*sys.argv[1:])
