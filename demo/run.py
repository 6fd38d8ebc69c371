"""Run the demo in the foreground: identity provider, proxy and hub, until the person ends it.

The hub ends first, and with it all sessions; whatever is left after that is ended by force.
"""

import contextlib
import os
import pwd
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from subprocess import Popen
from types import FrameType

from demo.data import write_proposals
from demo.processes import DemoError, end_descendants, reap, start, wait_until
from demo.state import State, port_is_free, state_from_environment

SERVICES = ("proposals", "quotas", "accounts", "lifecycle", "portal")
NODE_MODULES = "node_modules"
START_SECONDS = 120
STOP_SECONDS = 45


class StopAskedError(Exception):
    """The person or the system asked the demo to stop."""


def say(text: str) -> None:
    """Print a line at once; a terminal that has gone away is no reason to leave processes behind."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


class Demo:
    """The three processes of the demo, and what they need."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.node = state.folder / "node"
        self.running: dict[str, Popen[bytes]] = {}
        self.stop_asked = False

    def ask_to_stop(self, signum: int, _frame: FrameType | None) -> None:
        """Leave what we are at; a second request ends everything by force."""
        if self.stop_asked:
            say("Ending everything at once.")
            for process in self.running.values():
                process.kill()
            return
        self.stop_asked = True
        raise StopAskedError

    def run(self) -> int:
        """Start everything, wait until it is to end, and leave nothing behind."""
        status = 0
        try:
            if not port_is_free(self.state.port):
                raise DemoError(f"port {self.state.port} is in use. Choose another one with DAAS_PORT.")
            self.state.prepare()
            self._start_all()
            self._welcome()
            self._watch()
        except StopAskedError:
            say("\nStopping: sessions first.")
        except DemoError as error:
            say(f"demo: {error}")
            status = 1
        except OSError as error:
            say(f"demo: {error.filename or 'the system'}: {error.strerror}. DAAS_STATE must be writable.")
            status = 1
        self._stop_all()
        return status

    def _start_all(self) -> None:
        # All at once: the hub tries again until the proxy answers, and asks the provider at the first login.
        say("Starting the identity provider and the proxy")
        self._start_provider()
        self._start_proxy()
        say("Starting the hub and its services")
        self._start_hub()
        write_proposals(self.state.folder / "facility.yaml", self.state.data)
        self._wait_for("provider", f"{self.state.issuer}/.well-known/openid-configuration")
        self._wait_for("hub", f"{self.state.url}hub/api")
        for service in SERVICES:
            self._wait_for("hub", f"{self.state.url}services/{service}/health")

    def _environment(self) -> dict[str, str]:
        # Python's and the hub's own variables of the person's shell must not reach the demo.
        foreign = ("PYTHON", "JUPYTER", "CONFIGPROXY", "DAAS_", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return kept | {"PATH": path, "PYTHONUNBUFFERED": "1"}

    def _start(self, name: str, command: list[str], cwd: Path, **variables: str) -> None:
        env = self._environment() | variables
        self.running[name] = start(command, log=self.state.logs / f"{name}.log", cwd=cwd, env=env)

    def _start_provider(self) -> None:
        folder = self.node / "provider"
        command = ["node", str(folder / "provider.mjs"), str(self.state.secrets / "provider.json")]
        self._start("provider", command, folder)

    def _start_proxy(self) -> None:
        ports = self.state.ports
        program = self.node / NODE_MODULES / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
        command = ["node", str(program), "--ip", "127.0.0.1", "--port", str(self.state.port)]
        command += ["--api-ip", "127.0.0.1", "--api-port", str(ports["proxy_api"])]
        command += ["--default-target", f"http://127.0.0.1:{ports['hub']}"]
        command += ["--error-target", f"http://127.0.0.1:{ports['hub']}/hub/error"]
        self._start("proxy", command, self.node, CONFIGPROXY_AUTH_TOKEN=self.state.secret("proxy_token"))

    def _start_hub(self) -> None:
        config = self.state.app / "jupyterhub_config.py"
        self._start(
            "hub",
            [sys.executable, "-m", "jupyterhub", "-f", str(config)],
            self.state.hub,
            DAAS_STATE=str(self.state.folder),
            DAAS_PORT=str(self.state.port),
            DAAS_ISSUER=self.state.issuer,
            DAAS_HUB_PORT=str(self.state.ports["hub"]),
            DAAS_PROXY_API_PORT=str(self.state.ports["proxy_api"]),
            CONFIGPROXY_AUTH_TOKEN=self.state.secret("proxy_token"),
        )

    def _wait_for(self, name: str, url: str) -> None:
        def answered() -> bool:
            self._check_that_all_run()
            return _status(url) == 200

        if not wait_until(answered, START_SECONDS):
            log = self.state.logs / f"{name}.log"
            raise DemoError(f"the {name} did not come up in {START_SECONDS} s. More is in {log}")

    def _check_that_all_run(self) -> None:
        for name, process in self.running.items():
            if process.poll() is not None:
                raise DemoError(self._ended(name))

    def _ended(self, name: str) -> str:
        log = self.state.logs / f"{name}.log"
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        reason = f": {lines[-1][:300].rstrip('.')}" if lines else ""
        return f"the {name} ended by itself{reason}. More is in {log}"

    def _welcome(self) -> None:
        say("")
        say(f"The portal is at  {self.state.url}   (Ctrl-C ends it)")
        say("")
        say(f"  {'login':8s}{'with UmbrellaID':28s}{'with a facility account':28s}who")
        for login in self.state.logins():
            who = _WHO.get(login.name, "")
            say(f"  {login.name:8s}{login.umbrella:28s}{login.facility or '—':28s}{who}")
        say("")
        say(f"This is a demo: all sessions run as the account {_own_name()}.")
        say(f"What it keeps is in {self.state.folder}")

    def _watch(self) -> None:
        while True:
            self._check_that_all_run()
            time.sleep(1)

    def _stop_all(self) -> None:
        self.stop_asked = True
        for name in ("hub", "proxy", "provider"):
            if name in self.running:
                _end(self.running[name], STOP_SECONDS if name == "hub" else 5)
        left = end_descendants(grace=3)
        reap()
        if left:
            say(f"Ended {left} more process{'es' if left > 1 else ''} of the sessions.")
        if self.running:
            say("Everything has stopped.")


def _end(process: Popen[bytes], seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    if not wait_until(lambda: process.poll() is not None, seconds):
        process.kill()


_WHO = {
    "amara": "visiting scientist, member of 12 proposals",
    "bruno": "principal investigator of 20180301",
    "chiara": "beamline scientist of ID21",
    "sofia": "administrator",
    "dora": "known to the facility, but on no proposal: may not enter",
    "edgar": "visiting scientist, principal investigator of 20190417",
    "zoe": "has an UmbrellaID, but no account at the facility: may not enter",
}


def _status(url: str) -> int:
    try:
        with _opener.open(url, timeout=5) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


# This computer is never asked through a proxy of the network.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def run() -> int:
    """Run the demo of the folder and port that the environment names."""
    if os.getuid() == 0:
        say("demo: nothing of the demo may run as root. Start it with scripts/demo.")
        return 1
    try:
        demo = Demo(state_from_environment())
    except DemoError as error:
        say(f"demo: {error}")
        return 1
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, demo.ask_to_stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    return demo.run()
