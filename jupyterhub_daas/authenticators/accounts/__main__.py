"""Add an account to a file: ``python -m jupyterhub_daas.authenticators.accounts FILE USERNAME``."""

import argparse
import getpass
import sys
from pathlib import Path

from jupyterhub_daas.authenticators.accounts.file import write_entry
from jupyterhub_daas.errors import DaasError


def main(arguments: list[str] | None = None) -> int:
    """Add an account to a file; the password is asked for, or read from a pipe."""
    parser = argparse.ArgumentParser(
        prog="python -m jupyterhub_daas.authenticators.accounts", description=main.__doc__
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("username")
    wanted = parser.parse_args(arguments)
    asked = sys.stdin.isatty()
    password = getpass.getpass("Password: ") if asked else sys.stdin.readline().rstrip("\n")
    try:
        write_entry(wanted.file, wanted.username, password)
    except (DaasError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
