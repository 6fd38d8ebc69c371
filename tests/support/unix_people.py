"""Unix accounts and a PAM service of a test's own; only for root, and removed afterwards."""

import secrets
import subprocess
from pathlib import Path
from types import TracebackType

PAM = Path("/etc/pam.d")


class UnixPeople:
    """Make accounts and services under names that nobody else has."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(3)
        self._accounts: list[str] = []
        self._services: list[Path] = []

    def __enter__(self) -> "UnixPeople":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._accounts):
            self.remove(name)
        for service in self._services:
            service.unlink(missing_ok=True)

    def add(self, name: str, password: str, *options: str) -> str:
        """Make an account and return its name."""
        username = f"daas-{name}-{self._mark}"
        subprocess.run(["useradd", "--no-create-home", *options, username], check=True)
        self._accounts.append(username)
        subprocess.run(["chpasswd"], input=f"{username}:{password}\n", text=True, check=True)
        return username

    def change(self, username: str, *command: str) -> None:
        """Change an account by a command that ends with its name."""
        subprocess.run([*command, username], check=True, capture_output=True)

    def remove(self, username: str) -> None:
        """Remove an account."""
        subprocess.run(["userdel", username], check=True, capture_output=True)
        self._accounts.remove(username)

    def service(self, name: str, content: str) -> str:
        """Make a PAM service and return its name."""
        path = PAM / f"daas-{name}-{self._mark}"
        path.write_text(content)
        self._services.append(path)
        return path.name
