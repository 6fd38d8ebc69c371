"""A cluster that the hub is not on: people's accounts, a login node, slurmrestd, a witness before both."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.spawners.portal import Portal
from tests.spawners.slurm_people import People, accounts_of, sudo_rule
from tests.spawners.slurm_portal import EXTRA
from tests.support.slurm_lab import SlurmLab, let_pass, slurm_backend
from tests.support.slurm_spy import SlurmSpy
from tests.support.stack import Stack
from tests.support.threaded_server import ThreadedServer

PACKAGE = files("jupyterhub_daas") / "spawners" / "backends" / "slurm"
NOT_SHARED = "c.DaasSpawner.shared_account = False\n"


class RestSpy(ThreadedServer):
    """Stand before slurmrestd, as the proxy of a real site does, and write down what it is sent."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.calls: list[tuple[str, str, str, Any]] = []

    def application(self) -> web.Application:
        """Hand everything on."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._hand_on)
        return app

    async def _hand_on(self, request: web.Request) -> web.Response:
        content = await request.read()
        body = json.loads(content) if content else None
        self.calls.append((request.headers["X-SLURM-USER-NAME"], request.method, request.path, body))
        headers = {name: value for name, value in request.headers.items() if name.startswith("X-SLURM")}
        if content:
            headers["Content-Type"] = "application/json"
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.request(
                    request.method, self.url + request.path, headers=headers, data=content
                ) as answer,
            ):
                return web.Response(body=await answer.read(), status=answer.status)
        except aiohttp.ClientError as error:
            raise web.HTTPBadGateway from error


class FarCluster:
    """The cluster, and the two ways of a hub to it.

    `account` is the hub's on the login node; it has one key for each way. The cluster is in the system at
    `root`, to which a command goes; else on this machine.
    """

    def __init__(
        self, folder: Path, people: People, *, system: Sequence[str] = (), root: Path = Path("/")
    ) -> None:
        self.people, self.account = people, f"hub-{people.group}"
        self.folder, self._system, self._root = folder, system, root
        for place in (folder, folder / "own"):
            place.mkdir(exist_ok=True)
            let_pass(place)
        self.spy = SlurmSpy(folder / "programs")
        self.lab = SlurmLab(
            folder / "lab", prefix=system, accounts=(self.account,), rest=True, login=self.account
        )
        self.rest: RestSpy | None = None

    @contextmanager
    def up(self) -> Iterator["FarCluster"]:
        """Bring everything up."""
        with ExitStack() as stack:
            (self.folder / "homes").mkdir()
            homes = self.folder / "homes"
            stack.enter_context(accounts_of(self.people, homes, also_in=self._system))
            stack.callback(self.lab.stop)
            self.lab.start()
            stack.enter_context(
                sudo_rule(
                    self.account,
                    self.people.group,
                    programs=self.spy.folder,
                    tokens=True,
                    root=self._root,
                )
            )
            self.rest = RestSpy(self.lab.rest_url).start()
            stack.callback(self.rest.close)
            self._install()
            yield self

    def _install(self) -> None:
        """Put our two programs on the login node, and let a key run each."""
        own = self.folder / "own"
        for name in ("login_node.py", "token-for.sh"):
            shutil.copyfile(str(PACKAGE / name), own / name)
            (own / name).chmod(0o755)
        conf = self.lab.conf
        commands = {
            "ssh": f"/usr/bin/python3 -IS {own}/login_node.py --programs {self.spy.folder} --conf {conf}",
            "rest": f"SLURM_CONF={conf} {own}/token-for.sh",
        }
        lines = ""
        for name, command in commands.items():
            key = own / f"{name}-key"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
            lines += f'restrict,command="{command}" {key.with_suffix(".pub").read_text()}'
        (self.folder / "lab" / "ssh" / "authorized_keys").write_text(lines)

    def ssh_command(self, key: str) -> list[str]:
        """Return the words with which a key reaches the login node."""
        known = f"UserKnownHostsFile={self.folder}/lab/ssh/known_hosts"
        words = ["/usr/bin/ssh", "-F", "/dev/null", "-T", "-o", "BatchMode=yes", "-o", known]
        return [*words, "-i", key, "-p", str(self.lab.ssh_port), f"{self.account}@127.0.0.1"]

    def options(self, way: str, folder: Path) -> Mapping[str, object]:
        """Return the options of a backend that goes this way; its key is in a folder of the hub's."""
        key = str(folder / "key")
        if way == "ssh":
            place = {
                "host": "127.0.0.1",
                "port": self.lab.ssh_port,
                "user": self.account,
                "key": key,
                "known_hosts": f"{self.folder}/lab/ssh/known_hosts",
            }
        else:
            assert self.rest is not None
            place = {
                "url": f"http://127.0.0.1:{self.rest.port}",
                "token_command": self.ssh_command(key),
                "account": self.account,
            }
        options = {**slurm_backend(self.lab, command_seconds=60), way: place}
        del options["conf"]
        return options

    @contextmanager
    def portal(self, way: str, settings: dict[str, Any]) -> Iterator[Portal]:
        """Start a portal whose hub is an ordinary account without any right here, and goes this way."""
        folder = self.folder / f"stack-{way}"
        folder.mkdir()
        shutil.copyfile(self.folder / "own" / f"{way}-key", folder / "key")
        (folder / "key").chmod(0o600)
        extra = NOT_SHARED + EXTRA.format(backends={"slurm": self.options(way, folder)})
        stack = Stack(folder, settings=settings, extra=extra)
        self.people.put_into(stack)
        stack.hand_over()
        try:
            stack.start()
            for name, renamed in self.people.names.items():
                stack.login(renamed, f"{name}-facility")
            yield Portal(stack, tuple(self.people.names.values()), patience=60)
        finally:
            stack.stop()

    @property
    def hub_uid(self) -> int:
        """Return the number of the hub's account on the login node."""
        return (self.folder / "lab" / "home" / self.account).stat().st_uid
