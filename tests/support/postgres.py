"""A private PostgreSQL for the tests: its own folder, port and account, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port

ACCOUNT = "postgres"


class NoPostgresError(RuntimeError):
    """Say that the tests need PostgreSQL's own programs."""


def programs() -> Path:
    """Return the folder of initdb and pg_ctl; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path:
        return Path(on_path).parent
    raise NoPostgresError("initdb is missing: install the package postgresql")


class Postgres:
    """Start, stop and start again a server of its own, under an account that is not root's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._bin = programs()
        self._prefix: list[str] = []
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            self.user = ACCOUNT
            ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
            self._prefix = ["setpriv", *ids]
            shutil.chown(folder, ACCOUNT)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._bin / program), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode != 0:
            raise NoPostgresError(f"{program} failed: {done.stdout[-2000:]}")

    @property
    def data(self) -> str:
        """Return the server's folder."""
        return str(self.folder / "data")

    def create(self) -> None:
        """Make the server's folder."""
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", self.user, "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        log = str(self.folder / "log")
        # With the log elsewhere, nothing of the server holds our pipe open.
        self._run("pg_ctl", "-D", self.data, "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        """Stop the server at once, as a crash would: connections break."""
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def create_database(self, name: str) -> str:
        """Make a database and return its URL."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, name)
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{name}"


@contextmanager
def private_postgres() -> Iterator[Postgres]:
    """Run a server in a folder of its own: pytest's are closed to every account but the one that runs it."""
    with tempfile.TemporaryDirectory(prefix="daas-postgres-") as folder:
        server = Postgres(Path(folder))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
