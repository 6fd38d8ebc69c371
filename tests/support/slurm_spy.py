"""A scheduler's programs with a witness before each: it writes down its words, then the real one runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("sbatch", "squeue", "scancel", "sinfo")

WITNESS = """#!/usr/bin/python3 -IS
import json, os, sys, time

with open("/proc/self/environ", "rb") as file:
    environment = file.read()
with open("/proc/self/cmdline", "rb") as file:
    words = file.read().split(b"\\0")[:-1]
name = os.path.basename(sys.argv[0])
given = sys.stdin.buffer.read()
said = {
    "words": [word.decode("latin1") for word in words[3:]],
    "stdin": given.decode("latin1"),
    "environment": environment.decode("latin1"),
    "uid": os.getuid(),
}
path = "%s/%s-%d-%d" % (os.path.dirname(sys.argv[0]), name, time.monotonic_ns(), os.getpid())
with os.fdopen(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
    json.dump(said, file)
os.rename(path + ".new", path + ".json")
again = os.memfd_create("stdin")
os.write(again, given)
os.lseek(again, 0, os.SEEK_SET)
os.dup2(again, 0)
os.execv("/usr/bin/" + name, ["/usr/bin/" + name] + sys.argv[1:])
"""


@dataclass(frozen=True)
class Call:
    """What a program was given: its words without its own name, its stdin, and all of its environment.

    `begun_at` is in seconds of the monotonic clock, which all processes of a machine share.
    """

    words: Sequence[str]
    stdin: str
    environment: Mapping[str, str]
    uid: int
    begun_at: float


class SlurmSpy:
    """Stand before a scheduler's programs, Slurm's or others, in a folder that every account may write to."""

    def __init__(self, folder: Path, programs: Sequence[str] = PROGRAMS) -> None:
        self.folder = folder
        folder.mkdir()
        for name in programs:
            (folder / name).write_text(WITNESS)
            (folder / name).chmod(0o755)
        folder.chmod(0o1777)

    def calls(self, name: str) -> list[Call]:
        """Return the calls of a program, the oldest first."""
        found = [
            _read(json.loads(path.read_text()), int(path.name.split("-")[1]) / 1e9)
            for path in self.folder.glob(f"{name}-*.json")
        ]
        return sorted(found, key=lambda call: call.begun_at)

    def forget(self) -> None:
        """Forget all calls."""
        for path in self.folder.glob("*.json"):
            path.unlink()


def _read(said: dict[str, object], begun_at: float) -> Call:
    pairs = [pair.split("=", 1) for pair in str(said["environment"]).split("\0") if pair]
    # A text without "=" would be no variable: it must not pass unseen.
    environment = {pair[0]: pair[1] if len(pair) == 2 else "?" for pair in pairs}
    words = said["words"]
    assert isinstance(words, list)
    return Call(words, str(said["stdin"]), environment, int(str(said["uid"])), begun_at)
