"""ID tokens that a relying party must refuse, and those it must accept."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from jupyterhub_daas.authenticators.openid import tokens
from jupyterhub_daas.authenticators.openid.tokens import Expected, UnknownKeyError, read_keys, verify
from jupyterhub_daas.errors import UnauthenticatedError
from tests.support.identity_provider import signed_with_public_key, text_of, unsigned

ISSUER, CLIENT, NONCE, NOW = "https://op.example", "portal", "the-nonce", 1_700_000_000
GOOD, OTHER = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
EXPECTED = Expected(ISSUER, CLIENT, NONCE, access_token="an-access-token")
HOUR = 3600


def public(key: Any, kid: str, **changes: Any) -> dict[str, Any]:
    """Return a key as a provider publishes it."""
    return {**key.as_dict(private=False), "kid": kid, "use": "sig", **changes}


KEYS = read_keys({"keys": [public(GOOD, "k1", alg="RS256")]})


def token(
    *,
    key: Any = GOOD,
    alg: str = "RS256",
    kid: str | None = "k1",
    without: tuple[str, ...] = (),
    **changes: Any,
) -> str:
    """Sign a good token with these changes."""
    claims = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "s1",
        "iat": NOW,
        "exp": NOW + 60,
        "nonce": NONCE,
        **changes,
    }
    header = {"alg": alg} | ({"kid": kid} if kid else {})
    kept = {name: value for name, value in claims.items() if name not in without}
    return jwt.encode(header, kept, key, algorithms=[alg])


def tampered() -> str:
    """Change the subject under a good signature."""
    head, _, signature = token().split(".")
    claims = (
        f'{{"iss":"{ISSUER}","aud":"{CLIENT}","sub":"s2","iat":{NOW},"exp":{NOW + 60},"nonce":"{NONCE}"}}'
    )
    return f"{head}.{text_of(claims.encode())}.{signature}"


def good_claims() -> dict[str, Any]:
    """Return the claims of a good token."""
    return {"iss": ISSUER, "aud": CLIENT, "sub": "s1", "iat": NOW, "exp": NOW + 60, "nonce": NONCE}


def at_hash(access_token: str) -> str:
    """Return the hash that ties an RS256 token to an access token."""
    digest = hashlib.sha256(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


ACCEPTED: dict[str, Callable[[], str]] = {
    "good": token,
    "several audiences and azp is ours": lambda: token(aud=[CLIENT, "x"], azp=CLIENT),
    "audience as a list of one": lambda: token(aud=[CLIENT]),
    "no kid where there is one key": lambda: token(kid=None),
    "clock two minutes behind": lambda: token(iat=NOW - 119, exp=NOW - 119 + 60 + 60),
    "expired two minutes ago by our clock": lambda: token(iat=NOW - 179, exp=NOW - 119),
    "issued two minutes ahead": lambda: token(iat=NOW + 119, exp=NOW + 300),
    "right at_hash": lambda: token(at_hash=at_hash("an-access-token")),
    "header and claims that we do not know": lambda: token(sid="x", acr="1", auth_time=NOW - 9),
}

REFUSED: dict[str, Callable[[], str]] = {
    "other key, same kid": lambda: token(key=OTHER),
    "algorithm none": lambda: unsigned(good_claims()),
    "algorithm none with a signature": lambda: unsigned(good_claims()) + "c2ln",
    "hmac with the public key": lambda: signed_with_public_key(good_claims(), GOOD, "k1"),
    "hmac with the client's secret": lambda: token(key=OctKey.import_key("k" * 40), alg="HS256"),
    "algorithm that is not allowed": lambda: token(alg="RS512"),
    "claims changed after signing": tampered,
    "other issuer": lambda: token(iss="https://evil.example"),
    "issuer with a slash more": lambda: token(iss=ISSUER + "/"),
    "issuer as a list": lambda: token(iss=[ISSUER]),
    "no issuer": lambda: token(without=("iss",)),
    "other audience": lambda: token(aud="x"),
    "no audience": lambda: token(without=("aud",)),
    "empty audience": lambda: token(aud=[]),
    "audience that contains our name": lambda: token(aud=CLIENT + "2"),
    "several audiences, no azp": lambda: token(aud=[CLIENT, "x"]),
    "several audiences, foreign azp": lambda: token(aud=[CLIENT, "x"], azp="x"),
    "one audience, foreign azp": lambda: token(azp="x"),
    "expired": lambda: token(exp=NOW - 121, iat=NOW - 181),
    "clock an hour behind": lambda: token(iat=NOW - HOUR, exp=NOW - HOUR + 60),
    "clock an hour ahead": lambda: token(iat=NOW + HOUR, exp=NOW + HOUR + 60),
    "issued an hour ago, valid for a day": lambda: token(iat=NOW - HOUR, exp=NOW + 24 * HOUR),
    "not valid yet": lambda: token(nbf=NOW + HOUR),
    "no expiry": lambda: token(without=("exp",)),
    "no time of issue": lambda: token(without=("iat",)),
    "expiry as text": lambda: token(exp=str(NOW + 60)),
    "expiry that is no number": lambda: token(exp=float("nan")),
    "expiry without end": lambda: token(exp=float("inf")),
    "expiry as a truth value": lambda: token(exp=True),
    "no subject": lambda: token(without=("sub",)),
    "empty subject": lambda: token(sub=""),
    "subject as a number": lambda: token(sub=7),
    "subject of 10 kB": lambda: token(sub="s" * 10_000),
    "other nonce": lambda: token(nonce="of-another-sign-in"),
    "no nonce": lambda: token(without=("nonce",)),
    "wrong at_hash": lambda: token(at_hash=at_hash("another-access-token")),
    "critical header that we do not know": lambda: with_critical_header(),
    "no token": lambda: "",
    "two parts": lambda: ".".join(token().split(".")[:2]),
    "not base64": lambda: "%%%.%%%.%%%",
    "claims are a list": lambda: signed_list(),
}


def with_critical_header() -> str:
    """Return a token that demands an extension which nobody here knows."""
    head = text_of(b'{"alg":"RS256","kid":"k1","crit":["exp"],"exp":1}')
    return head + token()[token().index(".") :]


def signed_list() -> str:
    """Return a signed token whose payload is no object."""
    return jws.serialize_compact({"alg": "RS256", "kid": "k1"}, b"[1]", GOOD)


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_accepts_a_good_token(make: Callable[[], str]) -> None:
    assert verify(make(), KEYS, EXPECTED, now=NOW)["sub"] == "s1"


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_refuses_a_forged_token(make: Callable[[], str]) -> None:
    with pytest.raises(UnauthenticatedError) as refusal:
        verify(make(), KEYS, EXPECTED, now=NOW)
    assert "s1" not in refusal.value.message


@pytest.mark.parametrize("header", [{"kid": "k9"}, {"alg": "PS256"}], ids=["other name", "other algorithm"])
def test_asks_for_newer_keys_when_none_fits(header: dict[str, Any]) -> None:
    with pytest.raises(UnknownKeyError):
        verify(token(**header), KEYS, EXPECTED, now=NOW)


def test_a_refreshed_token_may_lack_the_nonce_but_not_the_subject() -> None:
    later = Expected(ISSUER, CLIENT, None, subject="s1")
    assert verify(token(without=("nonce",)), KEYS, later, now=NOW)["sub"] == "s1"
    with pytest.raises(UnauthenticatedError):
        verify(token(without=("nonce",), sub="s2"), KEYS, later, now=NOW)


class Signer(NamedTuple):
    """A key with the algorithm it signs with."""

    alg: str
    key: Any


SIGNERS = (
    Signer("RS256", GOOD),
    Signer("PS256", GOOD),
    Signer("ES256", ECKey.generate_key("P-256")),
    Signer("EdDSA", OKPKey.generate_key("Ed25519")),
)


@pytest.mark.filterwarnings("ignore:EdDSA")  # the library's encoder warns; our verifier doesn't use that way
@pytest.mark.parametrize("signer", SIGNERS, ids=[each.alg for each in SIGNERS])
def test_accepts_each_algorithm_of_the_allow_list(signer: Signer) -> None:
    keys = read_keys({"keys": [public(signer.key, "k", alg=signer.alg)]})
    assert verify(token(key=signer.key, alg=signer.alg, kid="k"), keys, EXPECTED, now=NOW)["sub"] == "s1"


def short_key() -> dict[str, Any]:
    """Return an RSA key of 1024 bits, which the library would warn about."""
    numbers = generate_private_key(public_exponent=65537, key_size=1024).public_key().public_numbers()
    modulus = numbers.n.to_bytes(128, "big")
    return {"kty": "RSA", "kid": "k1", "use": "sig", "n": text_of(modulus), "e": "AQAB"}


UNUSABLE: dict[str, Any] = {
    "symmetric": OctKey.import_key("k" * 40).as_dict() | {"kid": "k1"},
    "for encryption": public(GOOD, "k1", use="enc"),
    "not for verifying": public(GOOD, "k1", key_ops=["encrypt"]),
    "short": short_key(),
    "broken": {"kty": "RSA", "kid": "k1", "n": "AQ"},
    "of another kind": {"kty": "unheard-of", "kid": "k1"},
    "no object": "k1",
}


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # of the short key
@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=UNUSABLE)
def test_leaves_out_a_key_that_must_not_sign_and_keeps_the_others(entry: Any) -> None:
    assert [key.kid for key in read_keys({"keys": [entry, public(OTHER, "k2")]})] == ["k2"]


@pytest.mark.parametrize(
    "document", [{}, {"keys": None}, {"keys": {"kid": "k1"}}], ids=["empty", "null", "object"]
)
def test_a_document_without_keys_has_none(document: dict[str, Any]) -> None:
    assert read_keys(document) == ()


def test_refuses_to_guess_between_two_keys_of_one_name() -> None:
    keys = read_keys({"keys": [public(OTHER, "k1"), public(GOOD, "k1")]})
    with pytest.raises(UnauthenticatedError) as refusal:
        verify(token(), keys, EXPECTED, now=NOW)
    assert refusal.value.details["cause"] == "ambiguous_key"


BROUGHT: dict[str, dict[str, Any]] = {
    "the key itself": {"jwk": OTHER.as_dict(private=False)},
    "where keys are": {"jku": "https://evil.example/jwks"},
    "where a certificate is": {"x5u": "https://evil.example/certificate"},
}


@pytest.mark.parametrize("header", BROUGHT.values(), ids=BROUGHT)
def test_never_uses_a_key_that_the_token_brings_along(header: dict[str, Any]) -> None:
    forged = jwt.encode({"alg": "RS256", "kid": "k1", **header}, good_claims(), OTHER)
    with pytest.raises(UnauthenticatedError):
        verify(forged, KEYS, EXPECTED, now=NOW)


@pytest.mark.parametrize("kid", ["../../dev/null", "k1' OR '1'='1", "K1", "k1 ", ""])
def test_a_name_of_a_key_is_compared_and_never_looked_up(kid: str) -> None:
    forged = jwt.encode({"alg": "RS256", "kid": kid}, good_claims(), OTHER)
    with pytest.raises(UnknownKeyError):
        verify(forged, KEYS, EXPECTED, now=NOW)


def test_the_leeway_is_two_minutes() -> None:
    assert tokens.LEEWAY == 120


@pytest.mark.parametrize("moment", [NOW, NOW - 300, NOW - 300 - tokens.LEEWAY, NOW + tokens.LEEWAY])
def test_takes_a_sign_in_of_these_minutes_as_a_proof(moment: float) -> None:
    tokens.check_just_now({"auth_time": moment}, 300, now=NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"auth_time": None},
        {"auth_time": True},
        {"auth_time": str(NOW)},
        {"auth_time": float("nan")},
        {"auth_time": float("inf")},
        {"auth_time": NOW - HOUR},
        {"auth_time": NOW + HOUR},
        {"auth_time": NOW - 301 - tokens.LEEWAY},
    ],
    ids=str,
)
def test_refuses_a_proof_that_the_person_was_not_asked_for(claims: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError, match="did not ask you to sign in anew"):
        tokens.check_just_now(claims, 300, now=NOW)
