"""A stateful OpenID Provider on a real socket, which can be made to do what no real one would.

Honest by default: codes are consumed, PKCE is checked, refresh tokens rotate and the reuse of one revokes the
grant. A test replaces one of its faces to make it lie, be slow, or be away.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.typedefs import Handler
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.support.threaded_server import ThreadedServer

Claims = dict[str, Any]
CLIENT, SECRET = "portal", "a-secret-that-must-never-be-seen-anywhere"


def text_of(raw: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(claims: Claims) -> str:
    """Return a token of algorithm "none"."""
    head = text_of(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    return f"{head}.{text_of(json.dumps(claims).encode())}."


def signed_with_public_key(claims: Claims, key: RSAKey, kid: str) -> str:
    """Return a token whose HMAC key is the provider's public key: the oldest trick."""
    head = text_of(json.dumps({"alg": "HS256", "typ": "JWT", "kid": kid}).encode())
    body = f"{head}.{text_of(json.dumps(claims).encode())}"
    return f"{body}.{text_of(hmac.new(key.as_pem(private=False), body.encode(), 'sha256').digest())}"


class IdentityProvider(ThreadedServer):
    """Run in a thread of its own; the attributes are what a test may change."""

    def __init__(self) -> None:
        super().__init__()
        self.algorithm = "RS256"
        self.key: RSAKey | ECKey | OKPKey = RSAKey.generate_key(2048)
        self.kid = "first"
        # How many requests it has, and has had at once.
        self.inside = self.most_inside = 0
        self.be_honest()
        # What it remembers.
        self.asked: Counter[str] = Counter()
        self.forms: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._grants: dict[str, str] = {}
        self._spent: dict[str, str] = {}
        self._access: dict[str, tuple[str, float]] = {}
        self._revoked: set[str] = set()

    def be_honest(self) -> None:
        """Stop lying: the attributes that a test replaces to make it lie, be another, or be away."""
        self.subject = "amara@umbrella.example"
        self.claims: Claims = {"name": "Amara Okafor", "email": "amara@uni.example"}
        self.access_token_seconds = 300
        self.issue_refresh_tokens = True
        self.clock: Callable[[], float] = time.time
        self.change_claims: Callable[[Claims], Claims] = lambda claims: claims
        self.sign: Callable[[Claims], str] = self._sign
        self.metadata_changes: Claims = {}
        self.response_changes: dict[str, str | None] = {}
        self.userinfo: Callable[[str], web.Response] = self._userinfo_response
        self.jwks: Callable[[], web.Response] = self._jwks_response
        self.token_changes: Callable[[Claims], Claims] = lambda answer: answer
        self.away: set[str] = set()
        # Paths that take a request and do not answer, as long as they are here.
        self.hanging: set[str] = set()

    @property
    def issuer(self) -> str:
        """Return the issuer, which is also its address."""
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **changes: Any) -> Claims:
        """Return what the portal configures of this provider."""
        known = {"key": "umbrella", "title": "UmbrellaID", "issuer": self.issuer, "client_id": CLIENT}
        return {**known, "client_secret": SECRET, **changes}

    def rotate_keys(self, kid: str) -> None:
        """Sign with a new key; the old one is no longer published."""
        self.key, self.kid = RSAKey.generate_key(2048), kid

    def revoke_everything(self) -> None:
        """End every grant, as after the removal of an account."""
        self._revoked.update(self._grants.values())
        self._revoked.update(grant for grant, _ in self._access.values())

    def application(self) -> web.Application:
        """Return the provider's endpoints."""
        app = web.Application(middlewares=[self._hang])
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_get("/elsewhere/jwks", self._jwks_elsewhere)
        app.router.add_get("/end_session", self._end_session)
        return app

    @web.middleware
    async def _hang(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            while request.path in self.hanging:
                self.asked[f"hanging {request.path}"] += 1
                await asyncio.sleep(0.05)
            return await handler(request)
        finally:
            self.inside -= 1

    def _note(self, place: str) -> None:
        self.asked[place] += 1
        if place in self.away:
            raise web.HTTPServiceUnavailable(text="<html>maintenance</html>")

    async def _discovery(self, _: web.Request) -> web.Response:
        self._note("discovery")
        known = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/end_session",
            "authorization_response_iss_parameter_supported": True,
        }
        return web.json_response({**known, **self.metadata_changes})

    async def _authorize(self, request: web.Request) -> web.Response:
        self._note("authorize")
        asked = dict(request.query)
        code = secrets.token_urlsafe(16)
        self._codes[code] = {**asked, "sub": self.subject}
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **self.response_changes}
        given = {name: value for name, value in answer.items() if value is not None}
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode(given)}")

    async def _token(self, request: web.Request) -> web.Response:
        self._note("token")
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if form.get("client_id") != CLIENT or form.get("client_secret") != SECRET:
            return web.json_response({"error": "invalid_client"}, status=401)
        if form["grant_type"] == "refresh_token":
            return self._refresh(form["refresh_token"])
        held = self._codes.pop(form["code"], None)
        if held is None or held["redirect_uri"] != form["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        challenge = text_of(hashlib.sha256(form["code_verifier"].encode()).digest())
        if held.get("code_challenge_method") != "S256" or held["code_challenge"] != challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return self._granted(secrets.token_hex(8), held["sub"], held.get("nonce"))

    def _refresh(self, token: str) -> web.Response:
        if token in self._spent:
            self._revoked.add(self._spent[token])
            return web.json_response({"error": "invalid_grant"}, status=400)
        grant = self._grants.pop(token, None)
        if grant is None or grant in self._revoked:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self._spent[token] = grant
        return self._granted(grant, self.subject, None)

    def _granted(self, grant: str, subject: str, nonce: str | None) -> web.Response:
        access_token, refresh_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._access[access_token] = (grant, time.monotonic() + self.access_token_seconds)
        now = int(self.clock())
        claims: Claims = {"iss": self.issuer, "aud": CLIENT, "sub": subject, "iat": now, "exp": now + 300}
        if nonce is not None:
            claims["nonce"] = nonce
        answer: Claims = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": self.access_token_seconds,
            "id_token": self.sign(self.change_claims(claims)),
        }
        if self.issue_refresh_tokens:
            self._grants[refresh_token] = grant
            answer["refresh_token"] = refresh_token
        return web.json_response(self.token_changes(answer))

    def _sign(self, claims: Claims) -> str:
        header = {"alg": self.algorithm, "kid": self.kid}
        return jwt.encode(header, claims, self.key, algorithms=[self.algorithm])

    async def _userinfo(self, request: web.Request) -> web.Response:
        self._note("userinfo")
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        grant, until = self._access.get(token, ("", 0.0))
        if not grant or grant in self._revoked or time.monotonic() > until:
            return web.json_response({"error": "invalid_token"}, status=401)
        return self.userinfo(self.subject)

    def _userinfo_response(self, subject: str) -> web.Response:
        return web.json_response({"sub": subject, **self.claims})

    def _jwks_response(self) -> web.Response:
        public = self.key.as_dict(private=False)
        return web.json_response({"keys": [{**public, "kid": self.kid, "use": "sig", "alg": self.algorithm}]})

    async def _jwks(self, _: web.Request) -> web.Response:
        self._note("jwks")
        return self.jwks()

    async def _jwks_elsewhere(self, _: web.Request) -> web.Response:
        self._note("jwks elsewhere")
        return self._jwks_response()

    async def _end_session(self, request: web.Request) -> web.Response:
        self._note("end_session")
        raise web.HTTPFound(request.query["post_logout_redirect_uri"])
