"""The images of sessions, those of the folder images, as the lab of Podman has built them."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.support.labs import LABS

# The kinds of containers, and of machines.
CONTAINERS = ("jupyter", "desktop")
KINDS = (*CONTAINERS, "vm")

Done = subprocess.CompletedProcess[str]
Running = subprocess.Popen[str]


class SessionImages:
    """Ask about the images, and run programs in them; built when nobody has built them yet."""

    def __init__(self, lab: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **lab}
        built = subprocess.run(
            [LABS / "podman" / "images"], env=self._environment, capture_output=True, text=True
        )
        if built.returncode:
            raise RuntimeError(f"the images are not built:\n{built.stderr[-4000:]}")
        words = dict(word.split("=", 1) for word in shlex.split(built.stdout) if "=" in word)
        self.names = {kind: words[f"DAAS_PODMAN_{kind.upper()}"] for kind in KINDS}

    def inspect(self, kind: str) -> list[dict[str, Any]]:
        """Return what Podman says of an image."""
        found: list[dict[str, Any]] = json.loads(self._podman("image", "inspect", self.names[kind]).stdout)
        return found

    def run(self, kind: str, *words: str, options: tuple[str, ...] = ()) -> Done:
        """Run a program in an image, without a network."""
        program, *rest = words
        return self._podman(
            "run", "--rm", "--network=none", *options, f"--entrypoint={program}", self.names[kind], *rest
        )

    @contextmanager
    def running(self, kind: str, *words: str, options: tuple[str, ...]) -> Iterator[Running]:
        """Have a program run in an image, in the network of this computer; remove it afterwards."""
        program, *rest = words
        name = f"daas-{os.getpid()}-{kind}"
        command = ["podman", "run", "--rm", f"--name={name}", "--network=host", *options]
        with subprocess.Popen(
            [*command, f"--entrypoint={program}", self.names[kind], *rest],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                self._podman("rm", "--force", "--time=0", name)

    def _podman(self, *words: str) -> Done:
        return subprocess.run(["podman", *words], env=self._environment, capture_output=True, text=True)
