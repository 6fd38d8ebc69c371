"""Accounts in a YAML file, for demonstrations and small set-ups.

The file is read again when it changes; one that cannot be understood leaves the last good version in force.
"""

import asyncio
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from jupyterhub_daas.authenticators.accounts.source import LONGEST_PASSWORD, may_be_right
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import USERNAME, Username, matches
from jupyterhub_daas.errors import ConfigurationError, InvalidInputError

LARGEST_FILE = 4 * 1024 * 1024
THREADS = 2
_MEMORY_MARGIN = 1024 * 1024

log = logging.getLogger(__name__)


class PasswordHash(Model):
    """A salted scrypt hash with its parameters."""

    salt: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){16,64}$")]
    hash: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){32,64}$")]
    n: Annotated[int, Field(ge=1 << 14, le=1 << 17)] = 1 << 14
    r: Annotated[int, Field(ge=8, le=16)] = 8
    p: Annotated[int, Field(ge=1, le=4)] = 1

    def fits(self, password: str) -> bool:
        """Tell whether this is the hash of a password; takes some ten milliseconds of a processor."""
        wanted = bytes.fromhex(self.hash)
        found = hashlib.scrypt(
            password.encode("utf-8", "surrogatepass"),
            salt=bytes.fromhex(self.salt),
            n=self.n,
            r=self.r,
            p=self.p,
            dklen=len(wanted),
            maxmem=128 * self.n * self.r * self.p + _MEMORY_MARGIN,
        )
        return hmac.compare_digest(found, wanted)


_ENTRIES = TypeAdapter(dict[Username, PasswordHash])


class _Loaded(NamedTuple):
    stamp: tuple[int, int, int]
    entries: Mapping[str, PasswordHash]
    decoy: PasswordHash


class FileAccounts:
    """Accounts in a YAML file: ``username: {salt: hex, hash: hex, n: 16384, r: 8, p: 1}``."""

    room = THREADS

    def __init__(self, path: Path, *, place: str = "DaasAuthenticator.accounts_file") -> None:
        self.path = path
        self.issuer = f"file:{path.stem}"
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="daas-accounts")
        try:
            self._loaded = _load(path, _stamp(path))
        except InvalidInputError as error:
            raise ConfigurationError(error.message, field=place) from error
        self._bad_stamp: tuple[int, int, int] | None = None

    async def check(self, username: str, password: str) -> str | None:
        """Return the account's name if the password is right."""
        if not may_be_right(username, password):
            return None
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._check, username, password)

    async def exists(self, username: str) -> bool:
        """Tell whether the file still has the account."""
        entries = await asyncio.get_running_loop().run_in_executor(self._pool, self._read)
        return username in entries.entries

    def _check(self, username: str, password: str) -> str | None:
        loaded = self._read()
        entry = loaded.entries.get(username)
        # An unknown name costs the same hash, so that the time does not tell which names exist.
        fits = (entry or loaded.decoy).fits(password)
        return username if fits and entry is not None else None

    def _read(self) -> _Loaded:
        stamp = _stamp(self.path)
        if stamp in (self._loaded.stamp, self._bad_stamp):
            return self._loaded
        try:
            self._loaded, self._bad_stamp = _load(self.path, stamp), None
        except InvalidInputError as error:
            self._bad_stamp = stamp
            log.error("Accounts file not taken over, the last good version stays: %s", error.message)
        return self._loaded


def make_hash(password: str) -> PasswordHash:
    """Hash a password with a fresh salt."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(
        password.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32, maxmem=64 * 1024 * 1024
    )
    return PasswordHash(salt=salt.hex(), hash=digest.hex())


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _load(path: Path, stamp: tuple[int, int, int]) -> _Loaded:
    entries = _read_entries(path)
    costly = max(entries.values(), key=lambda entry: entry.n * entry.r * entry.p, default=make_hash("any"))
    decoy = costly.model_copy(update={"salt": secrets.token_hex(16), "hash": secrets.token_hex(32)})
    return _Loaded(stamp, entries, decoy)


def _read_entries(path: Path) -> dict[str, PasswordHash]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > LARGEST_FILE:
        raise InvalidInputError(f"{path} is larger than {LARGEST_FILE} bytes.")
    try:
        return _ENTRIES.validate_python(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidInputError(f"{path} is no YAML{place}.") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]  # the input holds hashes
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"{path}: {place}: {first['msg']}.") from error


def write_entry(path: Path, username: str, password: str) -> None:
    """Add an account to a file, or change its password; the file is replaced whole and private."""
    if not matches(USERNAME, username):
        raise InvalidInputError(
            f"{username[:64]!r} is no username: a lower-case letter, then up to 30 letters, digits and . _ -."
        )
    if not 0 < len(password) <= LONGEST_PASSWORD:
        raise InvalidInputError(f"A password has 1 to {LONGEST_PASSWORD} characters.")
    entries: dict[str, Any] = dict(_read_entries(path)) if path.exists() else {}
    entries[username] = make_hash(password)
    plain = {name: entry.model_dump() for name, entry in sorted(entries.items())}
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        yaml.safe_dump(plain, file, sort_keys=False)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    Path(draft).chmod(mode)
    Path(draft).replace(path)
