"""What the suite of named failures has to know of a backend."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from tests.spawners.portal import MODES, PLENTY
from tests.support.stack import Stack


class BackendUnderTest(ABC):
    """A backend with small servers as its sessions; made once its lab is up, with the variables of that.

    `lab` is the folder of tests/labs that brings the backend up, empty where there is nothing to bring up;
    `patience` how many seconds anything of it may take on a busy machine; `outage` how many it is away at
    least, for clients that give up after a while; `chaos_rounds` how many parts are killed in each run.
    """

    name: ClassVar[str]
    # What of the backend can be killed; its sessions run on without it.
    daemons: tuple[str, ...] = ()
    lab: ClassVar[str] = ""
    patience: ClassVar[float] = 30.0
    outage: ClassVar[float] = 0.0
    chaos_rounds: ClassVar[int] = 3
    # Where the hub must listen so that a session can reach it.
    hub_ip: str = "127.0.0.1"
    as_root: bool = False

    def __init__(self, lab: Mapping[str, str]) -> None:
        self.lab_variables = lab

    def close(self) -> None:
        """Remove what was made on the backend for these tests; the lab goes on."""
        return

    # --- the portal that uses it

    @abstractmethod
    def profile(self, mode: str) -> dict[str, Any]:
        """Return the options of a profile whose sessions are small servers of this mode.

        works: listens at once; slow: after a while; never: not at all, and is given up after a few seconds;
        dies: ends with an error at once.
        """

    def options(self, folder: Path) -> dict[str, Any]:
        """Return the backend's entry in DaasSpawner.backends; what the hub has to read goes into `folder`."""
        return {}

    def settings(self) -> dict[str, Any]:
        """Return the settings of the portal: an environment and a profile for each mode."""
        return {
            "environments": {mode: {"title": mode.title(), "kind": "jupyter"} for mode in MODES},
            "profiles": {
                mode: {
                    "environment": mode,
                    "backend": self.name,
                    "flavours": ["small", "medium"],
                    "options": self.profile(mode),
                }
                for mode in MODES
            },
            "quotas": dict(PLENTY),
            "lifecycle": {"interval_seconds": 2, "grace_seconds": 4},
        }

    def build_stack(
        self, folder: Path, *, extra: str = "", configure: Mapping[str, Any] | None = None, **settings: Any
    ) -> Stack:
        """Build a portal with this backend; `settings` replace parts of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        options = self.options(folder)
        return Stack(
            folder,
            settings={**self.settings(), **settings},
            extra=f"\nc.DaasSpawner.backends = {{{self.name!r}: {options!r}}}\n{extra}",
            configure=configure,
            as_root=self.as_root,
            hub_ip=self.hub_ip,
        )

    # --- seen from outside the hub

    @abstractmethod
    def things(self, hub_id: str) -> frozenset[str]:
        """Return the session ids of what runs, looked at past the hub."""

    @abstractmethod
    def traces(self, hub_id: str, session_id: str) -> Collection[object]:
        """Return what of a session stays the same as long as nobody starts it anew, such as its processes."""

    @abstractmethod
    def kill(self, hub_id: str, session_id: str) -> None:
        """Kill a session behind our back."""

    def kill_daemon(self, daemon: str) -> None:
        """Kill one of the backend's daemons, as a crash would."""
        raise NotImplementedError(daemon)

    def mend(self) -> None:
        """Start what is dead of the backend, and wait until it works."""
        return

    @abstractmethod
    def away(self) -> AbstractContextManager[None]:
        """Make the backend unreachable for the hub, and bring it back; its sessions run on."""
