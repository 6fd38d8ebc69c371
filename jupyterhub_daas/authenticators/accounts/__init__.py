"""Facility accounts: where a name and a password are checked."""

from jupyterhub_daas.authenticators.accounts.file import (
    THREADS,
    FileAccounts,
    PasswordHash,
    make_hash,
    write_entry,
)
from jupyterhub_daas.authenticators.accounts.source import AccountSource

__all__ = ["THREADS", "AccountSource", "FileAccounts", "PasswordHash", "make_hash", "write_entry"]
