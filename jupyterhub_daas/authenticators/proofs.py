"""Which identities this browser has just proven: signed cookies that count for minutes.

A proof says that somebody signed in as this identity, here and now. It lets nobody in. Two of them, both made
by a login that was asked for anew, link one identity to the person of the other. One is enough to ask for
access, and for that it counts longer: there is something to write. They live in the browser, so that another
one, however it came to be signed in, has none.
"""

import hashlib
import time
from typing import Annotated, Any

from pydantic import Field, ValidationError

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.people import Identity

COOKIE_PREFIX = "daas-proof-"
LIFETIME = 300
# A request for access is written in this time.
ASKING_LIFETIME = 1800
MOST = 3
_DAY = 86400


class Proof(Model):
    """Somebody signed in as this identity at `at`; `fresh`: her provider had to ask her, then and there."""

    identity: Identity
    provider: str = ""
    name: Annotated[str, Field(max_length=200)] = ""
    email: Annotated[str, Field(max_length=254)] = ""
    fresh: bool
    at: float

    @property
    def cookie_name(self) -> str:
        """Return the name of the cookie: one for each identity."""
        key = f"{self.identity.issuer}|{self.identity.subject}"
        return COOKIE_PREFIX + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def proof_of(identity: Identity, *, provider: str, claims: dict[str, Any], fresh: bool) -> Proof:
    """Return the proof of a login that has just taken place."""
    name, email = (claims.get(each) for each in ("name", "email"))
    return Proof(
        identity=identity,
        provider=provider,
        name=name[:200] if isinstance(name, str) and name.isprintable() else "",
        email=email[:254] if isinstance(email, str) and email.isprintable() else "",
        fresh=fresh,
        at=time.time(),
    )


def keep(handler: Any, proof: Proof) -> None:
    """Keep a proof in the browser of a request; the oldest give way."""
    others = [each for each in read(handler, ASKING_LIFETIME) if each.cookie_name != proof.cookie_name]
    for each in others[MOST - 1 :]:
        forget(handler, each)
    handler._set_cookie(
        proof.cookie_name,
        proof.model_dump_json(),
        expires_days=ASKING_LIFETIME / _DAY,
        path=handler.hub.base_url,
        samesite="Lax",
    )


def read(handler: Any, lifetime: int = LIFETIME) -> list[Proof]:
    """Return the proofs of the browser that a request comes from, the latest first, up to this age."""
    names = [name for name in handler.request.cookies if name.startswith(COOKIE_PREFIX)]
    found = []
    for name in names[: 4 * MOST]:
        held = handler.get_secure_cookie(name, max_age_days=lifetime / _DAY)
        try:
            proof = Proof.model_validate_json(held or b"")
        except ValidationError:
            continue
        if proof.cookie_name == name and 0 <= time.time() - proof.at <= lifetime:
            found.append(proof)
    return sorted(found, key=lambda proof: proof.at, reverse=True)


def forget(handler: Any, proof: Proof) -> None:
    """Take a proof from the browser."""
    handler.clear_cookie(proof.cookie_name, path=handler.hub.base_url)


def forget_all(handler: Any) -> None:
    """Take all proofs from the browser."""
    for name in handler.request.cookies:
        if name.startswith(COOKIE_PREFIX):
            handler.clear_cookie(name, path=handler.hub.base_url)
