"""Verify an ID token. Whatever is not proven by a check here is refused.

The signature is made by a key of the provider, with one of few asymmetric algorithms; issuer, audience,
authorised party, subject, times and nonce are what OpenID Connect Core 3.1.3.7 demands of a relying party.
"""

import base64
import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from jupyterhub_daas.errors import UnauthenticatedError

KEY_TYPE = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
LEEWAY = 120
OLDEST = 600
SMALLEST_RSA_KEY = 2048
LONGEST_SUBJECT = 255
_HASHES = {"RS256": "sha256", "PS256": "sha256", "ES256": "sha256", "EdDSA": "sha512"}


class UnknownKeyError(Exception):
    """Tell that the provider's keys have to be fetched again: they rotate."""


class SigningKey(NamedTuple):
    """A public key that may sign ID tokens."""

    kid: str | None
    key_type: str
    algorithm: str | None
    key: RSAKey | ECKey | OKPKey


class Expected(NamedTuple):
    """What an ID token must say; without `nonce` it comes from a refresh."""

    issuer: str
    client_id: str
    nonce: str | None
    subject: str | None = None
    access_token: str | None = None


class _AllowList(JWSRegistry):
    """Know our algorithms only, whatever the library recommends or warns about."""

    def get_alg(self, name: str) -> Any:
        if name not in KEY_TYPE:
            raise UnsupportedAlgorithmError("not on the allow-list")
        return self.algorithms[name]


def read_keys(document: Mapping[str, Any]) -> tuple[SigningKey, ...]:
    """Return the usable keys of a JWKS document; one that we cannot use never hides the others."""
    listed = document.get("keys")
    found = (_read_key(each) for each in (listed if isinstance(listed, list) else ()))
    return tuple(key for key in found if key is not None)


def _read_key(fields: Any) -> SigningKey | None:
    if not isinstance(fields, dict) or fields.get("kty") not in KEY_TYPE.values():
        return None
    if fields.get("use", "sig") != "sig" or "verify" not in fields.get("key_ops", ["verify"]):
        return None
    try:
        # Only what makes the key: the other fields are judged here, and a private part is of no use.
        public = {name: fields[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in fields}
        key = JWKRegistry.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey) and key.raw_value.key_size < SMALLEST_RSA_KEY:
        return None
    if not isinstance(key, RSAKey | ECKey | OKPKey):
        return None
    return SigningKey(fields.get("kid"), fields["kty"], fields.get("alg"), key)


def verify(id_token: str, keys: Sequence[SigningKey], expected: Expected, *, now: float) -> dict[str, Any]:
    """Return the claims of an ID token or raise UnauthenticatedError; UnknownKeyError wants newer keys."""

    def choose(signature: Any) -> Any:
        return _choose(signature.headers(), keys).key

    try:
        registry = _AllowList(algorithms=list(KEY_TYPE), strict_check_header=False)
        token = jwt.decode(id_token, choose, registry=registry)
        if not isinstance(token.claims, dict):
            raise refused("malformed")
        _claims_registry(expected, now).validate(token.claims)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise refused(getattr(error, "error", "") or "malformed") from error
    _check_audience(token.claims, expected.client_id)
    _check_times(token.claims, now)
    _check_person(token.claims, expected)
    _check_access_token(token.header, token.claims, expected.access_token)
    return token.claims


def check_just_now(claims: Mapping[str, Any], seconds: int, *, now: float) -> None:
    """Refuse unless the provider asked the person herself within these seconds."""
    moment: Any = claims.get("auth_time")
    known = isinstance(moment, int | float) and not isinstance(moment, bool)
    # What is no number compares as false to all.
    if not known or not -LEEWAY <= now - moment <= seconds + LEEWAY:
        raise UnauthenticatedError(
            "The identity provider did not ask you to sign in anew, so this proves nothing. Sign out there, "
            "and try again.",
            cause="auth_time",
        )


def refused(cause: str) -> UnauthenticatedError:
    """Build the refusal of a token; the cause is for the log, the person can do nothing about it."""
    return UnauthenticatedError(
        "The identity provider's answer did not pass our checks, so nobody was signed in. Please try again; "
        "if it stays, tell the user office.",
        cause=cause,
    )


def _choose(header: Mapping[str, Any], keys: Sequence[SigningKey]) -> SigningKey:
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in KEY_TYPE:
        raise UnsupportedAlgorithmError("not on the allow-list")
    fitting = [
        key
        for key in keys
        if key.key_type == KEY_TYPE[algorithm]
        and key.algorithm in (None, algorithm)
        and (kid is None or key.kid == kid)
    ]
    if not fitting:
        raise UnknownKeyError
    if len(fitting) > 1:  # which one signed is anybody's guess: never try them in turn
        raise refused("ambiguous_key")
    return fitting[0]


def _claims_registry(expected: Expected, now: float) -> JWTClaimsRegistry:
    return JWTClaimsRegistry(
        now=int(now),
        leeway=LEEWAY,
        iss={"essential": True, "value": expected.issuer},
        aud={"essential": True, "value": expected.client_id},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims["aud"]
    several = isinstance(audience, list) and audience != [client_id]
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise refused("azp")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    times: Collection[Any] = [claims[name] for name in ("exp", "iat", "nbf") if name in claims]
    if any(
        isinstance(each, bool) or not isinstance(each, int | float) or not math.isfinite(each)
        for each in times
    ):
        raise refused("malformed_time")
    if claims["iat"] < now - LEEWAY - OLDEST:  # it was made for this sign-in, seconds ago
        raise refused("too_old")


def _check_person(claims: Mapping[str, Any], expected: Expected) -> None:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise refused("sub")
    if expected.subject is not None and subject != expected.subject:
        raise refused("sub")
    # After a refresh the nonce may be missing; at a sign-in it is what ties the token to this browser.
    if expected.nonce is not None and claims.get("nonce") != expected.nonce:
        raise refused("nonce")


def _check_access_token(
    header: Mapping[str, Any], claims: Mapping[str, Any], access_token: str | None
) -> None:
    if access_token is None or "at_hash" not in claims:
        return
    digest = hashlib.new(_HASHES[header["alg"]], access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if claims["at_hash"] != half:
        raise refused("at_hash")
