"""What a job or a machine proves itself with: a code for one process, then that process's own secret.

The code is in the job's script, or the machine's user data, and good for nothing else than fetching the
session's launch once. The process that fetches it names a secret of its own making, with which alone it may
report its port, once. Only digests are kept; the launch, which holds the session's tokens, is kept sealed,
and only the code opens it.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from cryptography.fernet import Fernet
from pydantic import Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.errors import ConflictError, NotFoundError

Secret = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Port = Annotated[int, Field(strict=True, ge=1024, le=65535)]


class LaunchCall(Model):
    """The body with which a job or a machine fetches its launch."""

    secret: Secret


class PortCall(Model):
    """The body with which a job or a machine reports its port."""

    port: Port


class Ticket(Model):
    """Digests of what a job may say; `port` is what it has said."""

    code: str = ""
    secret: str = ""
    port: int = 0

    @classmethod
    def issue(cls, code: str | None = None) -> tuple["Ticket", str]:
        """Return a new ticket and its code: a new one, or the one that is out already."""
        code = code or secrets.token_hex(32)
        return cls(code=_digest(code)), code

    def fits(self, code: str) -> bool:
        """Tell whether this is the ticket's code."""
        return _fits(code, self.code)

    def is_from(self, secret: str) -> bool:
        """Tell whether this is the secret of the process that used the code."""
        return _fits(secret, self.secret)

    def redeemed(self, code: str, secret: str) -> "Ticket":
        """Return the ticket once the process with this secret used its code; only that one may again."""
        if not _fits(code, self.code):
            raise NotFoundError("There is no such job.")
        if self.secret and not _fits(secret, self.secret):
            raise ConflictError("The launch was fetched already, by another process.")
        return self.model_copy(update={"secret": _digest(secret)})

    def reported(self, secret: str, port: int) -> "Ticket":
        """Return the ticket after its process reported a port."""
        if not _fits(secret, self.secret):
            raise NotFoundError("There is no such job.")
        if self.port:
            raise ConflictError("The port is known.")
        return self.model_copy(update={"port": port})


def seal(order: Mapping[str, Any], code: str) -> str:
    """Return what a job will fetch, readable only with its code."""
    return _box(code).encrypt(json.dumps(order).encode()).decode()


def unseal(sealed: str, code: str) -> dict[str, Any]:
    """Return what was sealed; the code must be the right one."""
    order: dict[str, Any] = json.loads(_box(code).decrypt(sealed.encode()))
    return order


def _box(code: str) -> Fernet:
    # The code is random; its digest with another beginning is the key, so that the one that is kept is not.
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"seal {code}".encode()).digest()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _fits(text: str, digest: str) -> bool:
    return bool(digest) and hmac.compare_digest(_digest(text), digest)
