"""Do what a hub asks over SSH, as the forced command of its key on a login node, and nothing else.

Put this file there, and into authorized_keys of the hub's account:

    restrict,command="/usr/bin/python3 -IS /usr/local/libexec/daas-login-node.py" ssh-ed25519 AAAA... hub

It reads one request from stdin, compares each word of it with what a hub has to say, becomes the person by
sudo, and writes one answer. It runs alone, on Python 3.6 or newer, and knows no shell.
"""

# It knows no more than the interpreter of an old login node does:
# ruff: noqa: B905, S603, UP006, UP022, UP032, UP035

import argparse
import json
import pwd
import re
import subprocess
import sys
from typing import Any, Dict, List

MAX_REQUEST = 1 << 20
PERSON = r"[a-z][a-z0-9._-]{0,30}"
VALUE = r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]*"
OPTIONS = {
    "job-name": r"daas-[A-Za-z0-9_.-]{1,64}-[0-9a-f]{16}",
    "nodes": "1",
    "ntasks": "1",
    "cpus-per-task": r"[0-9]{1,6}",
    "mem": r"[0-9]{1,12}M",
    "time": r"[0-9]{1,6}",
    "gres": r"gpu(:" + VALUE + r")?:[0-9]{1,4}",
    "partition": VALUE,
    "account": VALUE,
    "qos": VALUE,
    "reservation": VALUE,
    "constraint": r"[A-Za-z0-9_(\[][A-Za-z0-9_.:&|*()\[\],=-]*",
    "chdir": "/",
    "output": "/dev/null",
    "error": "/dev/null",
    "export": "NIL",
}
SUBMISSION = "|".join("--{}={}".format(name, form) for name, form in OPTIONS.items())
LISTS = {
    "squeue": [r"--noheader", r"--all", r"--states=all", r"--format=[%A-Za-z|]+"],
    "sinfo": [r"--noheader", r"--all", r"--Node", r"--Format=[A-Za-z:|,]+"],
}
LOG = r"~/\.daas/[a-z0-9-]{1,64}\.log"


class Refused(Exception):  # noqa: N818
    """No hub of ours asks for this."""


def fits(words: List[str], forms: List[str]) -> bool:
    """Tell whether each word has the form at its place."""
    return len(words) == len(forms) and all(re.fullmatch(form, word) for form, word in zip(forms, words))


def check(program: str, words: List[str], person: Any) -> None:
    """Refuse what is not exactly what a hub has to say."""
    if person is None:
        if program in LISTS and fits(words, LISTS[program]):
            return
    elif isinstance(person, str) and re.fullmatch(PERSON, person):
        if program == "sbatch":
            forms = ["--parsable", "--no-requeue"] + [SUBMISSION] * (len(words) - 2)
            names = [word.partition("=")[0] for word in words]
            if fits(words, forms) and len(set(names)) == len(names):
                return
        if program == "scancel" and fits(words, ["[0-9]{1,12}"]):
            return
        if program == "tail" and fits(words, ["-n", "[0-9]{1,6}", "--", LOG]):
            return
    raise Refused("this is not allowed")


def account_of(person: str) -> Any:
    """Return the person's account; never root's."""
    try:
        entry = pwd.getpwnam(person)
    except KeyError:
        raise Refused("Invalid account: there is none of this name here") from None
    if 0 in (entry.pw_uid, entry.pw_gid):
        raise Refused("this is not allowed")
    return entry


def run(request: Dict[str, Any], given: argparse.Namespace) -> Dict[str, Any]:
    """Check a request, run it and return the answer."""
    words, person, stdin = request["words"], request["person"], request["stdin"]
    if not (isinstance(words, list) and words and all(isinstance(each, str) for each in words)):
        raise Refused("this is not allowed")
    program = words[0].rpartition("/")[2]
    check(program, words[1:], person)
    folder = "/usr/bin" if program == "tail" else given.programs
    command = ["{}/{}".format(folder, program), *words[1:]]
    if person is not None:
        home = account_of(person).pw_dir
        if program == "tail":
            command[-1] = home + command[-1][1:]
        command = [given.sudo, "-n", "-u", person, "--", *command]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SLURM_TIME_FORMAT": "%s"}
    if given.conf:
        environment["SLURM_CONF"] = given.conf
    done = subprocess.run(
        command,
        env=environment,
        cwd="/",
        input=str(stdin).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=given.seconds,
        check=False,
    )
    return {
        "status": done.returncode,
        "output": done.stdout.decode("utf-8", "replace"),
        "error": done.stderr.decode("utf-8", "replace")[:4000],
    }


def main() -> int:
    """Answer one request."""
    parser = argparse.ArgumentParser(description="Do what a hub asks over SSH.")
    parser.add_argument("--programs", default="/usr/bin", help="folder of Slurm's programs")
    parser.add_argument("--conf", help="slurm.conf, where it is not in its usual place")
    parser.add_argument("--sudo", default="/usr/bin/sudo")
    parser.add_argument("--seconds", type=float, default=60, help="how long a program may take")
    given = parser.parse_args()
    text = sys.stdin.buffer.read(MAX_REQUEST + 1)
    try:
        if len(text) > MAX_REQUEST:
            raise Refused("this is too long")
        answer = run(json.loads(text.decode()), given)
    except (Refused, ValueError, KeyError, TypeError) as error:
        said = str(error) if isinstance(error, Refused) else "this is no request"
        answer = {"status": 126, "output": "", "error": "login node: " + said}
    except subprocess.TimeoutExpired:
        answer = {"status": 124, "output": "", "error": "Unable to contact Slurm in time"}
    except OSError as error:
        answer = {"status": 127, "output": "", "error": "login node: {}".format(error.strerror)}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
