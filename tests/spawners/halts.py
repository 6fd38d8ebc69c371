"""Hold a start or a stop at a named step, inside the hub, until that is killed or the start is cancelled.

Installed by `HALTS`, a part of the configuration of a test's hub. A session whose name is in ``halts.json``
halts at the step named there; the file ``halted-<name>`` then says that it is there.
"""

import asyncio
import importlib
import json
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from jupyterhub_daas.core.names import ADJECTIVES
from tests.support.waiting import wait_until

HALTS = """
from tests.spawners.halts import install
install(Path({folder!r}))
"""
# Step -> (module, object in it, function), and whether it halts before or after that.
STEPS = {
    "before the gate": ("jupyterhub_daas.spawners.daas", "", "admit", "before"),
    "after the gate": ("jupyterhub_daas.spawners.daas", "", "admit", "after"),
    "before the reservation": ("jupyterhub_daas.clients.quotas", "QuotasClient", "reserve", "before"),
    "after the reservation": ("jupyterhub_daas.clients.quotas", "QuotasClient", "reserve", "after"),
    "before the process": (
        "jupyterhub_daas.spawners.backends.local.backend",
        "LocalBackend",
        "find_account",
        "before",
    ),
    "after the process": ("jupyterhub_daas.spawners.backends.local.session", "", "_read_all", "before"),
    "before it listens": (
        "jupyterhub_daas.spawners.backends.local.session",
        "LocalSession",
        "_wait_until_it_listens",
        "before",
    ),
    "when it listens": (
        "jupyterhub_daas.spawners.backends.local.session",
        "LocalSession",
        "_wait_until_it_listens",
        "after",
    ),
    "before it is active": ("jupyterhub_daas.clients.quotas", "QuotasClient", "activate", "before"),
    "when it is active": ("jupyterhub_daas.clients.quotas", "QuotasClient", "activate", "after"),
    "before it answers": ("jupyterhub.user", "User", "_wait_up", "before"),
    "when it answers": ("jupyterhub.user", "User", "_wait_up", "after"),
    "before the route": ("jupyterhub.proxy", "Proxy", "add_user", "before"),
    "after the route": ("jupyterhub.proxy", "Proxy", "add_user", "after"),
    "before the end": (
        "jupyterhub_daas.spawners.backends.local.session",
        "LocalSession",
        "_end",
        "before",
    ),
    "after the end": ("jupyterhub_daas.spawners.backends.local.session", "LocalSession", "_end", "after"),
    "before the release": ("jupyterhub_daas.clients.quotas", "QuotasClient", "release", "before"),
    "after the release": ("jupyterhub_daas.clients.quotas", "QuotasClient", "release", "after"),
}
ENDING = [step for step in STEPS if step.split()[-1] in ("end", "release")]
STARTING = [step for step in STEPS if step not in ENDING]

_session: ContextVar[str] = ContextVar("session", default="")


def install(folder: Path) -> None:
    """Wrap every function that is a step."""
    user = importlib.import_module("jupyterhub.user").User
    user.spawn, user.stop = _noting_session(user.spawn), _noting_session(user.stop)
    for step, (module, owner, name, when) in STEPS.items():
        holder = importlib.import_module(module)
        if owner:
            holder = getattr(holder, owner)
        setattr(holder, name, _halting(getattr(holder, name), folder, step, when))


def _noting_session(function: Callable[..., Any]) -> Callable[..., Any]:
    async def noting(user: Any, server_name: str = "", *given: Any, **named: Any) -> Any:
        _session.set(server_name)
        return await function(user, server_name, *given, **named)

    return noting


def _halting(function: Callable[..., Any], folder: Path, step: str, when: str) -> Callable[..., Any]:
    async def halting(*given: Any, **named: Any) -> Any:
        if when == "before":
            await _halt(folder, step)
        result = await function(*given, **named)
        if when == "after":
            await _halt(folder, step)
        return result

    return halting


async def _halt(folder: Path, step: str) -> None:
    path = folder / "halts.json"
    name = _session.get()
    if path.exists() and json.loads(path.read_text()).get(name) == step:
        (folder / f"halted-{name}").touch()
        await asyncio.Event().wait()


# --- for the tests


def names_of(steps: list[str]) -> dict[str, str]:
    """Give each step a session."""
    return {f"{adjective}-curie": step for adjective, step in zip(ADJECTIVES, steps, strict=False)}


def halt(folder: Path, halts: dict[str, str]) -> None:
    """Have sessions halt at steps from now on."""
    for path in folder.glob("halted-*"):
        path.unlink()
    (folder / "halts.json").write_text(json.dumps(halts))


def halted(folder: Path) -> set[str]:
    """Return which sessions are at their step."""
    return {path.name.removeprefix("halted-") for path in folder.glob("halted-*")}


def wait_halted(folder: Path, halts: dict[str, str]) -> None:
    """Wait until each session is at its step."""
    wait_until(
        lambda: all((folder / f"halted-{name}").exists() for name in halts),
        60,
        what=f"all halt: {[halts[path.name[7:]] for path in folder.glob('halted-*')]}",
    )
