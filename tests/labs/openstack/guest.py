"""Be the first process of a machine, and do what cloud-init does with exactly the user data that Nova holds.

guest.py FOLDER NAMESPACE, in namespaces of its own. The machine has this one's programs; what it writes stays
in its memory and goes with it. Of cloud-init it knows `write_files`, `mounts`, `bootcmd` and `runcmd` of a
#cloud-config, and scripts. NFS is played: the lab's file server has this machine's folders.
"""

import base64
import contextlib
import grp
import json
import os
import pwd
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path("/run/daas-guest")
# The numbers of accounts that are not the system's.
PEOPLE = range(1000, 60000)
# Where the machine has what its file server exports.
SERVER = "/run/file-server"
# The one program of ours that each image of machines has, started by systemd; which is played, too.
AGENT = Path(__file__).parents[3] / "images" / "vm" / "daas_agent.py"
PROGRAMS = {
    "poweroff": "#!/bin/sh\nkill -TERM 1\n",
    # mount.nfs4 SERVER:PATH TARGET -o OPTIONS; read-only is all of the options that can be played
    "mount.nfs4": f"""#!/bin/sh
case ",$4," in *,ro,*) options=bind,ro ;; *) options=bind ;; esac
exec mount -o $options "{SERVER}/${{1#*:}}" "$2"
""",
    "systemctl": """#!/bin/sh
case $* in
*poweroff*) kill -TERM 1 ;;
*start*daas-agent*) setsid /usr/bin/python3 -I /opt/daas/daas_agent.py </dev/null & ;;
esac
""",
}


def say(text: str) -> None:
    """Write on the machine's console."""
    print(f"cloud-init: {text}", flush=True)


def mount(*words: str | Path) -> None:
    """Mount something."""
    subprocess.run(["mount", *words], check=True)


def build(lab: Path) -> None:
    """Make the machine's files and enter them."""
    mount("--make-rprivate", "/")
    ROOT.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "guest", ROOT)
    new = ROOT / "root"
    for name in ("root", "files", "work"):
        (ROOT / name).mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={ROOT}/files,workdir={ROOT}/work", "overlay", new)
    mount("-t", "proc", "proc", new / "proc")
    mount("--rbind", "/dev", new / "dev")
    for place in ("run", "tmp"):
        mount("-t", "tmpfs", place, new / place)
    (new / "tmp").chmod(0o1777)
    served = new / SERVER.lstrip("/")
    served.mkdir(mode=0o700)
    mount("--rbind", "/", served)
    # The cloud's own files, passwords among them, are no part of any machine.
    for place in (new, served):
        mount("-t", "tmpfs", "nothing", place / str(lab).lstrip("/"))
    target = new / "opt/daas/daas_agent.py"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(AGENT.read_bytes())
    os.chroot(new)
    os.chdir("/")
    forget_people()
    for name, text in PROGRAMS.items():
        path = Path("/usr/sbin") / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def forget_people() -> None:
    """Know the system's accounts only: this computer's people are not the machine's."""
    people = {each.pw_name for each in pwd.getpwall() if each.pw_uid in PEOPLE}
    people |= {each.gr_name for each in grp.getgrall() if each.gr_gid in PEOPLE}
    for name in ("passwd", "group", "shadow", "gshadow"):
        path = Path("/etc", name)
        lines = [line for line in path.read_text().splitlines() if line.split(":")[0] not in people]
        path.write_text("\n".join([*lines, ""]))


def write_file(entry: dict) -> None:
    """Write one of `write_files`."""
    content = entry.get("content", "")
    encoded = entry.get("encoding", "") in ("b64", "base64")
    data = base64.b64decode(content) if encoded else content.encode()
    path = Path(entry["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(data)
    path.chmod(int(str(entry.get("permissions", "0644")), 8))


def run(command: str | list) -> None:
    """Run one of `bootcmd` or `runcmd`; it may leave processes behind."""
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL)
    say(f"{words[0]} ended with {done.returncode}")


def mount_entry(entry: list) -> None:
    """Do one of `mounts`: source, target, type, options."""
    source, target, kind, options = (*map(str, entry), *("auto", "defaults")[len(entry) - 2 :])[:4]
    Path(target).mkdir(parents=True, exist_ok=True)
    kept = ",".join(each for each in options.split(",") if each not in ("nofail", "_netdev"))
    done = subprocess.run(["mount", "-t", kind, "-o", kept or "defaults", source, target])
    say(f"mount of {source} on {target}: {done.returncode}")


def begin(user_data: str) -> None:
    """Do what the user data say, in cloud-init's order."""
    if user_data.startswith("#!"):
        path = Path("/run/user-data.sh")
        path.write_text(user_data)
        path.chmod(0o700)
        run([path])
        return
    if not user_data.startswith("#cloud-config\n"):
        say("no user data that is known")
        return
    config = yaml.safe_load(user_data)
    for command in config.get("bootcmd", ()):
        run(command)
    for entry in config.get("write_files", ()):
        write_file(entry)
    for entry in config.get("mounts", ()):
        mount_entry(entry)
    for command in config.get("runcmd", ()):
        run(command)
    unknown = set(config) - {"bootcmd", "write_files", "mounts", "runcmd"}
    say(f"done, left out: {shlex.join(sorted(unknown)) or 'nothing'}")


def main() -> None:
    """Boot, and stay until somebody switches the machine off."""
    folder, namespace = Path(sys.argv[1]), sys.argv[2]
    # The first process of a machine gets the signals only that it asks for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    described = json.loads((folder / "meta_data.json").read_text())
    user_data, silent = (folder / "user_data").read_text(), (folder / "silent").exists()
    subprocess.run(["ip", "netns", "del", namespace], check=False)
    build(folder.parents[1])
    say(f"{described['hostname']} is up")
    if not silent:
        begin(user_data)
    while True:
        # What the machine's programs leave behind is ours.
        with contextlib.suppress(ChildProcessError):
            os.wait()
            continue
        signal.pause()


main()
