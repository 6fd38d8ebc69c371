"""A portal whose sessions are small servers, and what the tests of the spawners ask of it."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from jupyterhub_daas.spawners.backends.local import processes
from tests.support.stack import Stack
from tests.support.waiting import wait_until

SERVER = Path(__file__).with_name("small_server.py")
MODES = ("works", "slow", "never", "dies")
PROPOSAL = "20180301"
WANTED = {"proposal": PROPOSAL, "environment": "works"}
PLENTY = {"default": {}, "default_flavour": "small"}


def small_profile(mode: str, **options: Any) -> dict[str, Any]:
    """Return a profile whose sessions are small servers; any Python will do for these."""
    command = ["/usr/bin/python3", str(SERVER), mode]
    return {
        "environment": mode,
        "backend": "local",
        "flavours": ["small", "medium"],
        "options": {"command": command, **options},
    }


def small_profiles() -> dict[str, Any]:
    """Return the demo's profiles with small servers, for portals whose sessions nobody looks at."""
    small = small_profile("works")
    return {
        "jupyter": {**small, "environment": "jupyter", "flavours": ["small", "medium", "large"]},
        "desktop": {**small, "environment": "desktop"},
    }


def small_settings(quotas: Mapping[str, Any] = PLENTY, **more: Any) -> dict[str, Any]:
    """Return the settings of a portal with one environment for each way to fail, and the real ones."""
    real = {
        "jupyter": {"title": "Jupyter", "kind": "jupyter"},
        "desktop": {"title": "Desktop", "kind": "desktop"},
    }
    return {
        "environments": {**{mode: {"title": mode.title(), "kind": "jupyter"} for mode in MODES}, **real},
        "profiles": {
            # First in the file, but not for everybody: who names an environment only is offered the next one.
            "works-for-staff": {**small_profile("works"), "roles": ["admin"]},
            "works": small_profile("works"),
            "slow": small_profile("slow"),
            "never": small_profile("never", start_seconds=4),
            "dies": small_profile("dies"),
            **{key: {"environment": key, "backend": "local", "flavours": ["small"]} for key in real},
        },
        "quotas": dict(quotas),
        "lifecycle": {"interval_seconds": 2, "grace_seconds": 4},
        **more,
    }


class Portal:
    """Ask a portal about sessions, as the tests' own service."""

    def __init__(
        self,
        stack: Stack,
        people: tuple[str, ...] = ("amara",),
        *,
        things: Callable[[str], frozenset[str]] = processes.find_sessions,
        patience: float = 30.0,
    ) -> None:
        self.stack = stack
        self._things, self.patience = things, patience
        for person in people:
            stack.accept_conditions(person)

    def start(self, name: str, options: object = None, person: str = "amara") -> requests.Response:
        """Start a session through REST."""
        body = {"user_options": WANTED if options is None else options}
        # Python writes what JSON does not have, such as infinity, and reads it too.
        return self.stack.admin("POST", f"/users/{person}/servers/{name}", data=json.dumps(body))

    def stop(self, name: str, person: str = "amara", *, remove: bool = False) -> requests.Response:
        """End a session and wait until it has."""
        answer = self.stack.admin("DELETE", f"/users/{person}/servers/{name}", json={"remove": remove})
        wait_until(lambda: not self.model(name, person).get("pending"), self.patience, what=f"{name} stopped")
        return answer

    def model(self, name: str, person: str = "amara") -> dict[str, Any]:
        """Return the hub's model of a session; empty if it has none."""
        answer = self.stack.admin("GET", f"/users/{person}", params={"include_stopped_servers": 1})
        model: dict[str, Any] = answer.json()["servers"].get(name, {})
        return model

    def names(self, person: str = "amara") -> set[str]:
        """Return the names of all sessions that the hub knows of a person, the default one left out."""
        answer = self.stack.admin("GET", f"/users/{person}", params={"include_stopped_servers": 1})
        return set(answer.json()["servers"]) - {""}

    def wait_ready(self, name: str, person: str = "amara", seconds: float = 0) -> dict[str, Any]:
        """Wait until a session can be entered."""
        seconds = seconds or self.patience
        wait_until(lambda: self.model(name, person).get("ready"), seconds, what=f"{name} is ready")
        return self.model(name, person)

    def session_id(self, name: str, person: str = "amara") -> str:
        """Return the session id that the hub recorded."""
        return str(self.model(name, person)["state"]["session_id"])

    def held(self, person: str | None = None) -> dict[str, str]:
        """Return the state of each reservation that holds something, by session id."""
        query = {"limit": 100} | ({"person": person} if person else {})
        answer = self.stack.call("quotas", "GET", "reservations", params={"state": "held,active", **query})
        answer.raise_for_status()
        return {each["session_id"]: each["state"] for each in answer.json()["items"]}

    def run(self, name: str, command: str, person: str = "amara") -> str:
        """Run a shell command inside a session of a small server; return what it wrote."""
        return str(self._post(name, person, "run", command)["output"])

    def leave(self, name: str, person: str = "amara") -> None:
        """Have the small server of a session end by itself."""
        self._post(name, person, "leave", "")

    def _post(self, name: str, person: str, what: str, data: str) -> dict[str, Any]:
        # Through the proxy, wherever the session is: a small server lets everybody in.
        answer = requests.post(f"{self.stack.url}/user/{person}/{name}/{what}", data=data, timeout=20)
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    def refusal(self, name: str, options: object, person: str = "amara") -> str:
        """Start a session that cannot come up; return what the person reads about it."""
        answer = self.start(name, options, person)
        if answer.status_code != 202:
            return str(answer.json()["message"])
        path = f"/users/{person}/servers/{name}/progress"
        with self.stack.admin_stream(path, seconds=self.patience + 30) as lines:
            events = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
        assert events, f"{name} told nothing of its start"
        assert events[-1].get("failed"), events
        return str(events[-1]["message"])

    def reconcile(self) -> dict[str, Any]:
        """Have the hub compare its sessions with what runs."""
        headers = {"Authorization": f"token {self.stack.service_token}"}
        answer = requests.post(f"{self.stack.url}/hub/daas/reconcile", headers=headers, timeout=60)
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    @property
    def hub_id(self) -> str:
        """Return the hub's tag on its processes."""
        return (self.stack.folder / "state" / "hub-id").read_text()

    def living(self) -> frozenset[str]:
        """Return the ids of all sessions of which the backend has anything, looked at past the hub."""
        return self._things(self.hub_id)

    def family(self, session_id: str) -> frozenset[int]:
        """Return the living processes of a session."""
        return processes.find_family(self.hub_id, session_id).members

    def is_settled(self) -> bool:
        """Tell whether hub, backend and quotas agree, and nothing is under way."""
        answer = self.stack.admin("GET", "/users", params={"include_stopped_servers": 1})
        models = [model for user in answer.json() for model in user["servers"].values()]
        ready = {model["state"]["session_id"] for model in models if model["ready"]}
        under_way = any(model["pending"] for model in models)
        return not under_way and ready == self.living() and dict.fromkeys(ready, "active") == self.held()

    def clean(self) -> None:
        """End all sessions and forget them."""
        for user in self.stack.admin("GET", "/users").json():
            for name in self.names(user["name"]):
                self.stop(name, user["name"], remove=True)
        wait_until(lambda: not self.living(), self.patience, what="no session lives")


def rows(portal: Portal) -> list[tuple[str, str, str]]:
    """Return person, name and options of each named server in the hub's own table."""
    path = portal.stack.folder / "hub.sqlite"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return list(
            database.execute(
                "select users.name, spawners.name, spawners.user_options from spawners "
                "join users on users.id = spawners.user_id where spawners.name <> ''"
            )
        )


def tracebacks(text: str) -> list[str]:
    """Return the lines of a log that begin a traceback."""
    return [line for line in text.splitlines() if "Traceback (most recent call last)" in line]


@contextmanager
def quiet_log(stack: Stack) -> Iterator[None]:
    """Fail if the hub or a service writes a traceback meanwhile."""
    before = len(stack.log())
    yield
    assert tracebacks(stack.log()[before:]) == [], stack.log()[before:][-3000:]


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
