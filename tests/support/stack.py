"""A whole portal for the tests: proxy, hub and services as real processes, on free ports, in an own folder.

The proxy runs apart from the hub, as in production, so that a hub can be killed and started again while
sessions go on. Root hands the hub to an unprivileged account, because no session may run as root.
"""

import json
import os
import pwd
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.support.ports import free_port, listens
from tests.support.preloaded import Forked, forks_of_worker
from tests.support.startup import ROOT, python_variables
from tests.support.waiting import wait_until

DEMO = ROOT / "demo"
ACCOUNT = "daas-test"
PYTHON = str(Path(sys.prefix).resolve() / "bin" / "python")
ISSUER = "https://umbrella.example"
START_SECONDS = 150.0

CONFIG = """
import json
from pathlib import Path
from jupyterhub_daas.configure import configure

c = get_config()
given = json.loads(Path({given!r}).read_text())
c.JupyterHub.bind_url = given["bind_url"]
c.JupyterHub.hub_bind_url = given["hub_bind_url"]
c.JupyterHub.base_url = given["base_url"]
c.JupyterHub.db_url = "sqlite:///" + given["folder"] + "/hub.sqlite"
c.JupyterHub.cookie_secret_file = given["folder"] + "/cookie-secret"
c.JupyterHub.cleanup_servers = False
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = given["proxy_api"]
c.ConfigurableHTTPProxy.auth_token = given["proxy_token"]
c.JupyterHub.services = [
    {{"name": name, "api_token": entry["token"], "display": False}} for name, entry in given["tokens"].items()
]
c.JupyterHub.load_roles = [
    {{"name": "test-" + name, "scopes": entry["scopes"], "services": [name]}}
    for name, entry in given["tokens"].items()
]
c.DaasAuthenticator.accounts_file = given["folder"] + "/accounts.yaml"
c.DaasSpawner.shared_account = given["shared_account"]
configure(c, given["folder"] + "/daas.yaml", state=given["folder"] + "/state", **given["configure"])
"""

# What the tests themselves ask the hub and the services for, beside the people's own tokens.
TEST_SCOPES = [
    "admin:users",
    "admin:servers",
    "access:services",
    "read:hub",
    "proxy",
    "tokens",
    "custom:daas:people:read",
    "custom:daas:proposals:read",
    "custom:daas:quotas:read",
    "custom:daas:quotas:override",
    "custom:daas:reservations:write",
    "custom:daas:usage:read",
    "custom:daas:accounts:read",
    "custom:daas:accounts:write",
    "custom:daas:identities:write",
    "custom:daas:audit:read",
    "custom:daas:audit:write",
    "custom:daas:bank:write",
    "custom:daas:lockouts:release",
    "custom:daas:sessions:end",
    "custom:daas:sessions:reconcile",
]

# What of the hub's own rights a test needs to speak in its place.
HUB_SCOPES = ["access:services", "custom:daas:identities:prove", "custom:daas:roles:entitle"]


def node_modules() -> Path:
    """Return the folder of the Node packages that the tests use."""
    return Path(os.environ.get("DAAS_NODE_MODULES", DEMO / "provider" / "node_modules"))


def unprivileged() -> tuple[list[str], int]:
    """Return the command prefix and uid under which a hub that is not root's runs."""
    if os.geteuid() != 0:
        return [], os.geteuid()
    try:
        account = pwd.getpwnam(ACCOUNT)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--create-home", "--home-dir", f"/var/lib/{ACCOUNT}", ACCOUNT], check=True
        )
        account = pwd.getpwnam(ACCOUNT)
    prefix = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
    return prefix, account.pw_uid


class Stack:
    """Start, kill, restart and ask a portal.

    `settings` are replaced top-level parts of the demo's settings file; `extra` is Python appended to the
    configuration; `as_root` keeps the hub root, as in production; `hub_ip` is where sessions reach the hub.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        extra: str = "",
        as_root: bool = False,
        base_url: str = "/",
        hub_ip: str = "127.0.0.1",
        configure: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port, self.proxy_port, self.hub_port = free_port(), free_port(), free_port()
        self.base_url = base_url
        self.hub_url = f"http://{hub_ip}:{self.hub_port}"
        self.url = f"http://127.0.0.1:{self.port}{base_url.rstrip('/')}"
        self.api = f"{self.url}/hub/api"
        self.proxy_token = secrets.token_hex(16)
        self.service_token = secrets.token_hex(16)
        self.plain_token, self.hub_token = secrets.token_hex(16), secrets.token_hex(16)
        self.extra, self.as_root = extra, as_root
        self.prefix, self.uid = ([], 0) if as_root else unprivileged()
        self.configure = dict(configure or {})
        self.environment = dict(environment or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._said_before = 0
        self._sessions: dict[str, requests.Session] = {}
        self._write(settings or {})

    # --- files

    def _write(self, settings: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "data").mkdir(exist_ok=True)
        for name in ("daas.yaml", "facility.yaml", "accounts.yaml"):
            text = (DEMO / name).read_text()
            text = text.replace("@STATE@", str(self.folder)).replace("@ISSUER@", ISSUER)
            (self.folder / name).write_text(text)
        content = yaml.safe_load((self.folder / "daas.yaml").read_text())
        content.update(settings)
        (self.folder / "daas.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        directory = yaml.safe_load((self.folder / "facility.yaml").read_text())
        for identifier, proposal in directory["proposals"].items():
            for part in ("raw", "processed"):
                place = self.folder / "data" / str(proposal.get("folder", identifier)) / part
                place.mkdir(parents=True, exist_ok=True)
        given = {
            "bind_url": f"http://127.0.0.1:{self.port}",
            "hub_bind_url": self.hub_url,
            "base_url": self.base_url,
            "folder": str(self.folder),
            "proxy_api": f"http://127.0.0.1:{self.proxy_port}",
            "proxy_token": self.proxy_token,
            "tokens": {
                "tests": {"token": self.service_token, "scopes": TEST_SCOPES},
                "tests-plain": {"token": self.plain_token, "scopes": ["access:services"]},
                "tests-hub": {"token": self.hub_token, "scopes": HUB_SCOPES},
            },
            "shared_account": not self.as_root,
            "configure": self.configure,
        }
        (self.folder / "given.json").write_text(json.dumps(given))
        config = CONFIG.format(given=str(self.folder / "given.json")) + self.extra
        (self.folder / "jupyterhub_config.py").write_text(config)
        if self.prefix:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the folder to the hub's account, with what a test has added."""
        # pytest's own folder is private to root; the account only has to pass through it.
        for parent in self.folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
        subprocess.run(["chown", "-R", str(self.uid), str(self.folder)], check=True)

    # --- processes

    def start(self) -> "Stack":
        """Start the proxy and the hub, and wait until both and all services answer."""
        self._start_proxy()
        self.start_hub()
        return self

    def _environment(self) -> dict[str, str]:
        bin_folder = str(Path(PYTHON).parent)
        path = os.pathsep.join([bin_folder, str(node_modules() / ".bin"), os.environ["PATH"]])
        home = str(self.folder)
        kept = {name: os.environ[name] for name in ("LANG", "TZ") if name in os.environ}
        return {
            **kept,
            "PATH": path,
            "HOME": home,
            **python_variables(),
            **self.environment,
        }

    def _run_hub(self, command: list[str]) -> None:
        if self.as_root or self.prefix != unprivileged()[0]:
            self._run("hub", command)
            return
        with (self.folder / "hub.log").open("ab") as log:
            self._processes["hub"] = Forked(
                forks_of_worker(),
                command,
                uid=self.uid,
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
            )

    def _run(self, name: str, command: list[str], **environment: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self.prefix, *command],
                cwd=self.folder,
                env={**self._environment(), **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _start_proxy(self) -> None:
        command = [
            str(node_modules() / ".bin" / "configurable-http-proxy"),
            *("--ip", "127.0.0.1", "--port", str(self.port)),
            *("--api-ip", "127.0.0.1", "--api-port", str(self.proxy_port)),
            *("--default-target", self.hub_url),
            *("--error-target", f"{self.hub_url}{self.base_url}hub/error"),
        ]
        self._run("proxy", command, CONFIGPROXY_AUTH_TOKEN=self.proxy_token)
        # The hub asks the proxy for a few seconds only before it gives up.
        wait_until(self._proxy_up, START_SECONDS, what="the proxy listens")

    def _proxy_up(self) -> bool:
        if self._processes["proxy"].poll() is not None:
            raise RuntimeError(f"the proxy ended:\n{self.log('proxy')[-4000:]}")
        return listens(self.proxy_port)

    def start_hub(self, *, wait: bool = True) -> None:
        """Start the hub, with its services, on the state that is there."""
        config = str(self.folder / "jupyterhub_config.py")
        self._said_before = len(self.log())
        self._run_hub([PYTHON, "-m", "jupyterhub", "-f", config])
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until the hub answers and each of its services is healthy."""
        # Its log tells when: who asks a hub that is coming up takes much of its time.
        wait_until(self._hub_runs, START_SECONDS, what="the hub runs\n" + str(self.folder / "hub.log"))
        services = self.configure.get("services", ["proposals", "quotas", "accounts", "lifecycle", "portal"])
        for name in services:
            wait_until(lambda: self._healthy(name), START_SECONDS, what=f"service {name} is healthy")  # noqa: B023

    def _hub_runs(self) -> bool:
        if self._processes["hub"].poll() is not None:
            raise RuntimeError(f"the hub ended:\n{self.log('hub')[-4000:]}")
        return "JupyterHub is now running" in self.log()[self._said_before :]

    def _healthy(self, name: str) -> bool:
        try:
            return requests.get(self.service_url(name) + "health", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def service_url(self, name: str) -> str:
        """Return the address of a service, behind the proxy."""
        return f"{self.url}/services/{name}/"

    def log(self, name: str = "hub") -> str:
        """Return what a process wrote: ``hub`` (with its services) or ``proxy``."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def hub_pid(self) -> int:
        """Return the hub's process id."""
        return self._processes["hub"].pid

    def service_pid(self, name: str) -> int:
        """Return the process of a service, a child of the hub; LookupError while it has none."""
        hub = self.hub_pid()
        wanted = f"jupyterhub_daas.services.{name}".encode()
        for pid in Path(f"/proc/{hub}/task/{hub}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                if wanted in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return int(pid)
        raise LookupError(f"{name} does not run")

    def kill_hub(self) -> None:
        """Kill the hub as a crash would: at once and without a word."""
        self._processes["hub"].kill()
        self._processes["hub"].wait()

    def stop_hub(self) -> None:
        """End the hub in order; sessions go on."""
        self._end("hub")

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if name == "proxy":
            # Node may run below a wrapper that does not hand the signal on.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End everything that was started here, sessions first."""
        for session in self._sessions.values():
            session.close()
        if "hub" in self._processes and self._processes["hub"].poll() is None:
            self._end_sessions()
        self._end("hub")
        self._end("proxy")

    def _end_sessions(self) -> None:
        for user in self.admin("GET", "/users", params={"state": "active"}).json():
            for name in user["servers"]:
                self.admin("DELETE", f"/users/{user['name']}/servers/{name}")

    # --- asking

    def admin(self, method: str, path: str, **given: Any) -> requests.Response:
        """Ask the hub's REST API with the tests' own token."""
        headers = {"Authorization": f"token {self.service_token}"}
        return requests.request(method, self.api + path, headers=headers, timeout=60, **given)

    @contextmanager
    def admin_stream(self, path: str, *, seconds: float) -> Iterator[Iterator[str]]:
        """Read a stream of the hub's REST API line by line; fail if it is silent for `seconds`."""
        headers = {"Authorization": f"token {self.service_token}", "Accept": "text/event-stream"}
        with requests.get(self.api + path, headers=headers, timeout=seconds, stream=True) as answer:
            answer.raise_for_status()
            yield answer.iter_lines(decode_unicode=True)

    def call(
        self, service: str, method: str, path: str, *, token: str | None = "", **given: Any
    ) -> requests.Response:
        """Ask a service: with the tests' own token, another one, or none (`token=None`)."""
        used = self.service_token if token == "" else token
        headers = dict(given.pop("headers", {}))
        if used:
            headers["Authorization"] = f"token {used}"
        url = f"{self.service_url(service)}api/v1/{path}"
        return requests.request(method, url, headers=headers, timeout=60, **given)

    def login(self, person: str, password: str | None = None) -> requests.Session:
        """Sign in with a facility account, as a browser would; kept for the next call."""
        if person not in self._sessions:
            session = requests.Session()
            # What every browser sends when a person opens a page.
            session.headers["Sec-Fetch-Mode"] = "navigate"
            page = session.get(f"{self.url}/hub/login", timeout=30)
            page.raise_for_status()
            answer = session.post(
                f"{self.url}/hub/login",
                data={
                    "username": person,
                    "password": password or f"{person}-facility",
                    "_xsrf": xsrf_of(session, "/hub/"),
                },
                timeout=30,
                allow_redirects=False,
            )
            if answer.status_code != 302:
                raise RuntimeError(f"{person} is not let in: {answer.status_code} {answer.text[:2000]}")
            self._sessions[person] = session
        return self._sessions[person]

    def token(self, person: str, scopes: list[str] | None = None) -> str:
        """Return a new API token of a person's own."""
        session = self.login(person)
        session.get(f"{self.url}/hub/token", timeout=30)
        answer = session.post(
            f"{self.api}/users/{person}/tokens",
            json={"note": "tests"} | ({"scopes": scopes} if scopes is not None else {}),
            headers={"X-XSRFToken": xsrf_of(session, "/hub/")},
            timeout=30,
        )
        answer.raise_for_status()
        return str(answer.json()["token"])

    def accept_conditions(self, person: str) -> None:
        """Accept the present conditions of use as this person."""
        token = self.token(person)
        version = self.call("accounts", "GET", "conditions", token=token).json()["version"]
        answer = self.call(
            "accounts", "PUT", f"people/{person}/acceptance", token=token, json={"version": version}
        )
        answer.raise_for_status()


def xsrf_of(session: requests.Session, path: str) -> str:
    """Return the XSRF token that the browser holds for a path: hub and services have one each."""
    values = [
        cookie.value for cookie in session.cookies if cookie.name == "_xsrf" and cookie.path.endswith(path)
    ]
    return str(values[0]) if values else ""
