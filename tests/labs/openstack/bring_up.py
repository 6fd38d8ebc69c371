"""Start what is dead of the cloud: bring_up.py SCHEMAS RUN. Prints the variables to use it with."""

import http.client
import json
import os
import secrets
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import yaml
from settings import HOST, PORTS, Places, environment, write_settings

HERE = Path(__file__).parent
SCHEMAS, RUN = Path(sys.argv[1]), Path(sys.argv[2])
STATE = RUN / "state.json"
BRIDGE, NETWORK = "daas-os", "10.246"
UP_SECONDS = 300


def choose() -> dict:
    """Choose free ports, a free network and a password, once; who makes the bridge has its network."""
    held = []
    while len(held) < len(PORTS):
        # Below the range from which the kernel takes the ports of connections.
        each = socket.socket()
        try:
            each.bind(("127.0.0.1", secrets.SystemRandom().randrange(12_000, 32_000)))
        except OSError:
            continue
        held.append(each)
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    for number in range(1, 255):
        command = ["ip", "link", "add", f"{BRIDGE}{number}", "type", "bridge"]
        if (
            f"{NETWORK}.{number}." not in routes
            and not subprocess.run(command, stderr=subprocess.DEVNULL).returncode
        ):
            break
    else:
        sys.exit(f"no network of {NETWORK} is free")
    state = {
        "ports": {name: each.getsockname()[1] for name, each in zip(PORTS, held, strict=True)},
        "number": number,
        "password": secrets.token_urlsafe(24),
    }
    STATE.touch(mode=0o600)
    STATE.write_text(json.dumps(state))
    return state


def build_bridge(bridge: str, gateway: str) -> None:
    """Make the network of the guests, with the machine's own address in it."""
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], stderr=subprocess.DEVNULL)
    subprocess.run(["ip", "addr", "replace", f"{gateway}/24", "dev", bridge], check=True)
    subprocess.run(["ip", "link", "set", bridge, "up"], check=True)


def take_schemas() -> None:
    """Copy the empty databases, and tell those that name others where these are now."""
    done = RUN / "db" / "done"
    if done.exists():
        return
    shutil.copytree(SCHEMAS, RUN / "db", dirs_exist_ok=True)
    with sqlite3.connect(RUN / "db/nova_api.sqlite") as connection:
        before = (SCHEMAS / "made-in").read_text()
        connection.execute(
            "update cell_mappings set database_connection = replace(database_connection, ?, ?)",
            (before, str(RUN)),
        )
    connection.close()
    subprocess.run([sys.executable, HERE / "network_agent.py", RUN / "db/neutron.sqlite", HOST], check=True)
    done.touch()


class Processes:
    """The cloud's processes; each is known by its number and by the cloud's folder among its arguments."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables

    def alive(self, name: str) -> bool:
        """Tell whether a process of this cloud runs."""
        try:
            pid = int((RUN / "pid" / name).read_text())
            return f"{RUN}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return False

    def start(self, name: str, program: str, *words: object) -> None:
        """Start a process unless it runs."""
        if self.alive(name):
            return
        with (RUN / "log" / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, HERE / program, f"{RUN}/", *map(str, words)],
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (RUN / "pid" / name).write_text(str(process.pid))

    def wait(self, name: str, port: int) -> None:
        """Wait until a service answers."""
        deadline = time.monotonic() + UP_SECONDS
        while time.monotonic() < deadline:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("GET", "/")
                if connection.getresponse().status < 500:
                    return
            except (OSError, http.client.HTTPException):
                pass
            if not self.alive(name):
                break
            time.sleep(0.1)
        tail = (RUN / "log" / f"{name}.out").read_text()[-3000:]
        sys.exit(f"{name} does not answer, see {RUN}/log:\n{tail}")


def write_clouds(places: Places) -> Path:
    """Write the access of administrator and hub."""

    def cloud(username: str, project: str) -> dict:
        auth = {
            "auth_url": places.url("keystone", "/v3"),
            "username": username,
            "password": places.password,
            "user_domain_id": "default",
            "project_name": project,
            "project_domain_id": "default",
        }
        return {"region_name": "RegionOne", "identity_api_version": 3, "auth": auth}

    path = RUN / "clouds.yaml"
    path.touch(mode=0o600)
    clouds = {"lab-admin": cloud("admin", "admin"), "lab": cloud("hub", "daas")}
    path.write_text(yaml.safe_dump({"clouds": clouds}))
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(path)
    return path


def once(name: str) -> bool:
    """Tell whether a step is to be done; the caller touches the mark afterwards."""
    return not (RUN / "db" / name).exists()


def begin_keystone(places: Places, variables: dict[str, str]) -> None:
    """Make the keys of tokens and the administrator."""
    manage = [f"{places.venv}/bin/keystone-manage", f"--config-file={places.file('keystone')}"]
    url = places.url("keystone", "/v3")
    for words in (
        ["fernet_setup", "--keystone-user=root", "--keystone-group=root"],
        [
            "bootstrap",
            f"--bootstrap-password={places.password}",
            *(f"--bootstrap-{kind}-url={url}" for kind in ("admin", "internal", "public")),
            "--bootstrap-region-id=RegionOne",
        ],
    ):
        done = subprocess.run([*manage, *words], env=variables, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"keystone-manage {words[0]} failed:\n{done.stderr[-3000:]}")
    (RUN / "db/keystone-begun").touch()


def main() -> None:
    """Bring it all up."""
    state = json.loads(STATE.read_text()) if STATE.exists() else choose()
    network = f"{NETWORK}.{state['number']}"
    bridge, gateway = f"{BRIDGE}{state['number']}", f"{network}.1"
    build_bridge(bridge, gateway)
    places = Places(RUN, Path(sys.prefix), state["ports"], state["password"])
    write_settings(places)
    take_schemas()
    variables = {**os.environ, **environment(places)}
    variables |= {"LAB_BRIDGE": bridge, "LAB_GATEWAY": gateway, "LAB_PYTHON": sys.executable}
    clouds = write_clouds(places)
    if once("keystone-begun"):
        begin_keystone(places, variables)
    processes, ports = Processes(variables), state["ports"]
    for name in ("keystone", "placement", "glance", "neutron"):
        processes.start(name, "serve.py", f"{name}.wsgi.api", ports[name])
    processes.wait("keystone", ports["keystone"])
    import seed

    if once("published"):
        seed.publish_all(
            {
                "image": ("glance", places.url("glance")),
                "placement": ("placement", places.url("placement")),
                "network": ("neutron", places.url("neutron")),
                "compute": ("nova", places.url("nova", "/v2.1")),
                "volumev3": ("cinderv3", places.url("cinder", "/v3/%(project_id)s")),
            },
            places.password,
        )
        (RUN / "db/published").touch()
    processes.wait("placement", ports["placement"])
    processes.start("nova", "nova_all.py", ports["nova"], ports["metadata"])
    processes.start("cinder", "cinder_all.py", ports["cinder"])
    for name in ("glance", "neutron", "nova", "cinder"):
        processes.wait(name, ports[name])
    if once("filled"):
        nova = [f"{places.venv}/bin/nova-manage", f"--config-file={places.file('nova')}"]
        subprocess.run(
            [*nova, "cell_v2", "discover_hosts"], env=variables, check=True, stdout=subprocess.DEVNULL
        )
        seed.fill(network, gateway)
        (RUN / "db/filled").touch()
    for name, value in {
        "DAAS_TEST_OS_CLIENT_CONFIG": str(clouds),
        "DAAS_TEST_OS_CLOUD": "lab",
        "DAAS_TEST_OS_ADMIN": "lab-admin",
        "DAAS_TEST_OS_IMAGE": "guest",
        "DAAS_TEST_OS_FLAVOR": "small",
        "DAAS_TEST_OS_NETWORK": "daas",
        "DAAS_TEST_HUB_IP": gateway,
        "DAAS_TEST_LAB_FOLDER": str(RUN),
    }.items():
        print(f"export {name}={shlex.quote(value)}")


main()
