"""One OpenID provider: find it, send a person there, take the answer, ask again later.

Only `(issuer, subject)` of an ID token that passed every check leaves this module as an identity; a userinfo
answer about another subject is refused. An outage (UpstreamError) is never mistaken for a refusal
(UnauthenticatedError), nor the other way round.
"""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from jupyterhub_daas.authenticators.openid import tokens, transport
from jupyterhub_daas.authenticators.openid.settings import ProviderSettings
from jupyterhub_daas.authenticators.openid.state import SignInState
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import (
    ConfigurationError,
    UnauthenticatedError,
    UpstreamAnswerError,
    UpstreamError,
)

FRESH = 10.0
JUST_NOW = 300
RETRY_AFTER = 3.0
KEYS_LAST = 3600.0
EARLY = 30
# A class that signs in at once waits here, and not at the provider and the services, where the time of each
# question runs out. For a provider that hangs nobody waits long.
SIGN_INS_AT_ONCE = 8
ROOM_SECONDS = 30.0
# Causes of a refusal that say no more than that the grant is over.
GRANT_ENDED = frozenset({"invalid_grant", "userinfo_refused", "no_refresh_token"})


def _protected(url: str) -> str:
    if not transport.is_protected(url):
        raise ValueError("must be an https:// URL")
    return url


Endpoint = Annotated[str, Field(max_length=2000), AfterValidator(_protected)]


class Metadata(BaseModel):
    """What we use of a discovery document."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issuer: str
    authorization_endpoint: Endpoint
    token_endpoint: Endpoint
    userinfo_endpoint: Endpoint
    jwks_uri: Endpoint
    end_session_endpoint: Endpoint | None = None
    authorization_response_iss_parameter_supported: bool = False


class Tokens(NamedTuple):
    """What a provider gave us to ask again with; kept encrypted in `auth_state`."""

    access_token: str
    refresh_token: str
    id_token: str
    expires_at: float


class SignIn(NamedTuple):
    """A proven identity, the claims about it, and the tokens."""

    identity: Identity
    claims: dict[str, Any]
    tokens: Tokens


class OpenIDProvider:
    """Speak to one provider."""

    def __init__(self, settings: ProviderSettings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._clock = clock
        try:
            self._secret = settings.secret()
        except OSError as error:
            raise ConfigurationError(
                f"The secret of provider {settings.key!r} cannot be read: {error.strerror}.",
                field=f"DaasAuthenticator.providers.{settings.key}.client_secret_file",
            ) from error
        self._metadata: Metadata | None = None
        self._tried_at = float("-inf")
        self._fault: UpstreamError | None = None
        self._finding = asyncio.Lock()
        self._room = asyncio.Semaphore(SIGN_INS_AT_ONCE)
        self._keys: tuple[tokens.SigningKey, ...] = ()
        self._keys_at = float("-inf")

    async def find(self, *, stale: bool = False) -> Metadata:
        """Return the provider's metadata, at most ten seconds old; `stale` takes old ones when it is away."""
        async with self._finding:
            age = time.monotonic() - self._tried_at
            if age > (FRESH if self._fault is None else RETRY_AFTER):
                await self._discover()
        if self._metadata is not None and (stale or self._fault is None):
            return self._metadata
        assert self._fault is not None
        raise self._fault.with_traceback(None)

    @property
    def away(self) -> bool:
        """Tell whether the last attempt to find the provider failed."""
        return self._fault is not None

    async def look(self) -> None:
        """Find out whether the provider is there, for `away`."""
        with contextlib.suppress(UpstreamError):
            await self.find()

    async def _discover(self) -> None:
        url = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        self._fault = None
        try:
            answer = await transport.fetch(url, provider=self.settings.title)
            if answer.status != 200:
                raise self._nonsense()
            found = Metadata.model_validate(answer.body)
            if found.issuer != self.settings.issuer:  # exactly: a trailing slash is another issuer
                raise self._nonsense()
            self._metadata = found
        except ValidationError as error:
            self._fault = self._nonsense()
            self._fault.__cause__ = error
        except UpstreamError as error:
            self._fault = error
        finally:
            self._tried_at = time.monotonic()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold one of the few places for a sign-in; raise UpstreamUnavailableError if none gets free."""
        try:
            await asyncio.wait_for(self._room.acquire(), ROOM_SECONDS)
        except asyncio.TimeoutError:
            raise transport.no_answer(self.settings.title) from None
        try:
            yield
        finally:
            self._room.release()

    async def authorization_url(self, state: SignInState, redirect_uri: str) -> str:
        """Return where to send the browser."""
        metadata = await self.find()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.settings.scope),
            "state": state.state_id,
            "nonce": state.nonce,
            "code_challenge": state.challenge,
            "code_challenge_method": "S256",
        }
        if state.purpose:
            # With max_age a provider must say when the person signed in, whatever it makes of prompt.
            query |= {"prompt": "login", "max_age": str(JUST_NOW)}
        return _with_query(metadata.authorization_endpoint, query)

    async def check_answers_issuer(self, issuer: str | None) -> None:
        """Refuse an answer that another provider made us take for this one's (RFC 9207)."""
        metadata = await self.find(stale=True)
        announced = metadata.authorization_response_iss_parameter_supported
        if (issuer is not None or announced) and issuer != self.settings.issuer:
            raise tokens.refused("response_issuer")

    async def sign_in(self, code: str, state: SignInState, redirect_uri: str) -> SignIn:
        """Exchange the code, verify the ID token and ask for the person's claims."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": state.verifier,
        }
        granted = await self._grant(form)
        expected = tokens.Expected(
            issuer=self.settings.issuer,
            client_id=self.settings.client_id,
            nonce=state.nonce,
            access_token=granted.access_token,
        )
        proven = await self._verify(granted.id_token, expected)
        if state.purpose:
            tokens.check_just_now(proven, JUST_NOW, now=self._clock())
        claims = await self._userinfo(granted.access_token, proven["sub"])
        identity = Identity(issuer=self.settings.issuer, subject=proven["sub"])
        return SignIn(identity, {**proven, **claims}, granted)

    async def ask_again(self, subject: str, held: Tokens) -> SignIn:
        """Ask whether the provider still vouches for this subject; renew the access token when it is due."""
        if held.access_token and held.expires_at > self._clock() + EARLY:
            try:
                claims = await self._userinfo(held.access_token, subject)
            except UnauthenticatedError as error:
                if not held.refresh_token or error.details.get("cause") != "userinfo_refused":
                    raise
            else:
                return SignIn(Identity(issuer=self.settings.issuer, subject=subject), claims, held)
        if not held.refresh_token:
            raise tokens.refused("no_refresh_token")
        granted = await self._grant(
            {"grant_type": "refresh_token", "refresh_token": held.refresh_token}, held
        )
        claims = {}
        try:
            if granted.id_token != held.id_token:
                expected = tokens.Expected(self.settings.issuer, self.settings.client_id, None, subject)
                await self._verify(granted.id_token, expected)
            claims = await self._userinfo(granted.access_token, subject)
        except UpstreamError:
            # The grant itself vouches for the person, and a rotated refresh token must not be lost.
            granted = granted._replace(id_token=held.id_token)
        return SignIn(Identity(issuer=self.settings.issuer, subject=subject), claims, granted)

    async def end_session_url(self, id_token: str, return_to: str) -> str | None:
        """Return where the browser ends the provider's own session, if the provider has such a place."""
        metadata = await self.find(stale=True)
        if metadata.end_session_endpoint is None:
            return None
        query = {"client_id": self.settings.client_id, "post_logout_redirect_uri": return_to}
        if id_token:
            query["id_token_hint"] = id_token
        return _with_query(metadata.end_session_endpoint, query)

    async def _grant(self, form: Mapping[str, str], held: Tokens | None = None) -> Tokens:
        metadata = await self.find(stale=True)
        headers, sent = {}, dict(form)
        if self.settings.client_authentication == "basic":
            pair = f"{quote(self.settings.client_id, safe='')}:{quote(self._secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            sent["client_id"] = self.settings.client_id
        if self.settings.client_authentication == "post":
            sent["client_secret"] = self._secret
        answer = await transport.fetch(
            metadata.token_endpoint, provider=self.settings.title, form=sent, headers=headers
        )
        if answer.status != 200:
            if answer.body.get("error") == "invalid_grant":
                raise tokens.refused("invalid_grant")
            raise self._nonsense()  # our own client is refused: nothing the person did
        return self._tokens(answer.body, held)

    def _tokens(self, body: Mapping[str, Any], held: Tokens | None) -> Tokens:
        access_token = body.get("access_token")
        id_token = body.get("id_token", held.id_token if held else None)
        refresh_token = body.get("refresh_token", held.refresh_token if held else "")
        lifetime = body.get("expires_in", 0)
        if not access_token or str(body.get("token_type", "")).lower() != "bearer":
            raise self._nonsense()
        if not all(isinstance(each, str) for each in (access_token, id_token, refresh_token)):
            raise self._nonsense()
        if isinstance(lifetime, bool) or not isinstance(lifetime, int):
            raise self._nonsense()
        return Tokens(access_token, refresh_token, id_token, self._clock() + min(max(lifetime, 0), 86400))

    async def _verify(self, id_token: str, expected: tokens.Expected) -> dict[str, Any]:
        if not self._keys or time.monotonic() - self._keys_at > KEYS_LAST:
            await self._fetch_keys()
        try:
            return tokens.verify(id_token, self._keys, expected, now=self._clock())
        except tokens.UnknownKeyError:
            await self._fetch_keys()  # keys rotate: look once more, and only once
        try:
            return tokens.verify(id_token, self._keys, expected, now=self._clock())
        except tokens.UnknownKeyError as error:
            raise tokens.refused("unknown_key") from error

    async def _fetch_keys(self) -> None:
        metadata = await self.find(stale=True)
        answer = await transport.fetch(metadata.jwks_uri, provider=self.settings.title)
        if answer.status != 200:
            raise self._nonsense()
        self._keys, self._keys_at = tokens.read_keys(answer.body), time.monotonic()

    async def _userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        metadata = await self.find(stale=True)
        answer = await transport.fetch(
            metadata.userinfo_endpoint,
            provider=self.settings.title,
            headers={"Authorization": f"Bearer {access_token}"},
        )
        if answer.status in (400, 401, 403):
            raise tokens.refused("userinfo_refused")
        if answer.status != 200:
            raise self._nonsense()
        if answer.body.get("sub") != subject:  # OpenID Connect Core 5.3.2
            raise tokens.refused("userinfo_subject")
        return answer.body

    def _nonsense(self) -> UpstreamAnswerError:
        return transport.nonsense(self.settings.title)


def _with_query(endpoint: str, query: Mapping[str, str]) -> str:
    return endpoint + ("&" if "?" in endpoint else "?") + urlencode(query)
