"""The demo's folder: secrets, ports, logins, the facility's files.

What exists is kept from start to start; secrets are made here, readable by their owner only.
"""

import hashlib
import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from demo.processes import DemoError

HERE = Path(__file__).parent
# The hub makes the others (cookie secret, key of the login state) itself, as private files in its own folder.
SECRETS = ("client_secret", "proxy_token")
PORTS = ("provider", "hub", "proxy_api")
_WORDS = (
    "amber birch cedar copper coral crystal delta ember falcon fern garnet harbour indigo jasper lagoon "
    "lemon maple marble meadow nectar olive orbit pebble pepper plum prism quartz river saffron sage scarlet "
    "silver spruce summit thyme tundra velvet violet walnut willow"
).split()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def port_is_free(port: int) -> bool:
    """Tell whether we could listen on a port of this computer."""
    with socket.socket() as probe:
        # As servers do: an address that only waits for its last connection to fade counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Login:
    """A name and the password that was made for it."""

    name: str
    umbrella: str
    facility: str | None


class State:
    """The folder with everything that the demo keeps."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.app = HERE.parent
        self.logs = folder / "logs"
        self.hub = folder / "hub"
        self.data = folder / "data"
        self.secrets = folder / "secrets"
        self.ports: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Where the person opens the portal."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def issuer(self) -> str:
        """The demo's identity provider."""
        return f"http://127.0.0.1:{self.ports['provider']}"

    def prepare(self) -> None:
        """Make whatever is not there yet."""
        os.umask(0o077)
        for folder in (self.logs, self.hub, self.data, self.secrets, self.folder / "homes"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for log in self.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.old"))
        self._choose_ports()
        for name in SECRETS:
            if not (self.secrets / name).exists():
                write_private(self.secrets / name, secrets.token_hex(32) + "\n")
        for name in ("facility.yaml", "daas.yaml"):
            write_private(self.folder / name, self._filled_in((HERE / name).read_text(encoding="utf-8")))
        self._write_people()
        self._write_provider_settings()

    def secret(self, name: str) -> str:
        """Read one of the secrets."""
        return (self.secrets / name).read_text(encoding="utf-8").strip()

    def logins(self) -> list[Login]:
        """Return the demo's people with their passwords, made once."""
        file = self.secrets / "logins.json"
        if not file.exists():
            made = {
                name: {"umbrella": _password(), "facility": None if name == "zoe" else _password()}
                for name in _people()
            }
            write_private(file, json.dumps(made, indent=1))
        kept = json.loads(file.read_text(encoding="utf-8"))
        return [Login(name, each["umbrella"], each["facility"]) for name, each in kept.items()]

    def _choose_ports(self) -> None:
        file = self.folder / "ports.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept = {}
        # The same ports as the last time where possible: the issuer of identities and open pages stay valid.
        for name in PORTS:
            port = kept.get(name)
            taken = {self.port, *self.ports.values()}
            self.ports[name] = port if port not in taken and port and port_is_free(port) else free_port()
        write_private(file, json.dumps(self.ports))

    def _filled_in(self, text: str) -> str:
        return text.replace("@STATE@", str(self.folder)).replace("@ISSUER@", self.issuer)

    def _write_people(self) -> None:
        people = _people()
        accounts = {}
        for login in self.logins():
            if login.name in people:
                people[login.name]["password"] = login.umbrella
            if login.facility is not None:
                accounts[login.name] = _hashed(login.facility)
        write_private(self.folder / "people.json", json.dumps(people, indent=1, ensure_ascii=False))
        # JSON is YAML too, and the strings of digits stay strings in it.
        write_private(self.folder / "accounts.yaml", json.dumps(accounts, indent=1))

    def _write_provider_settings(self) -> None:
        # A browser may call this computer by either name; the hub comes back to the one that it used.
        portals = [f"http://{host}:{self.port}" for host in ("127.0.0.1", "localhost")]
        settings = {
            "port": self.ports["provider"],
            "client": {
                "id": "hub",
                "secret": self.secret("client_secret"),
                "redirect_uris": [f"{portal}/hub/auth/umbrella/oauth_callback" for portal in portals],
                "post_logout_redirect_uris": [
                    f"{portal}{path}" for portal in portals for path in ("/", "/hub/login", "/hub/")
                ],
            },
            "people": str(self.folder / "people.json"),
            "access_token_seconds": 600,
            "key_file": str(self.secrets / "provider-key.json"),
        }
        write_private(self.secrets / "provider.json", json.dumps(settings, indent=1))


def _people() -> dict[str, dict[str, object]]:
    people: dict[str, dict[str, object]] = json.loads((HERE / "people.json").read_text(encoding="utf-8"))
    return people


def _password() -> str:
    return "-".join(secrets.choice(_WORDS) for _ in range(3)) + f"-{secrets.randbelow(90) + 10}"


def _hashed(password: str) -> dict[str, object]:
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=16384, r=8, p=1, dklen=32)
    return {"salt": salt.hex(), "hash": digest.hex(), "n": 16384, "r": 8, "p": 1}


def state_from_environment() -> State:
    """Read where the demo keeps its things and on which port it listens."""
    folder = os.environ.get("DAAS_STATE", "")
    port = os.environ.get("DAAS_PORT", "8000")
    if not folder:
        raise DemoError("DAAS_STATE is not set. Start the demo with scripts/demo.")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise DemoError("DAAS_PORT must be a number from 1 to 65535.")
    return State(Path(folder).resolve(), int(port))
