"""The state of one sign-in, kept in the browser that began it.

It ties together the browser (by a signed cookie), the provider's answer (by `state`), the ID token (by the
nonce, which is derived) and the code (by the PKCE verifier). An answer that lacks any of the four is refused.
"""

import base64
import hashlib
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

LIFETIME = 600
COOKIE_PREFIX = "daas-sign-in-"
LARGEST_MEMORY = 100_000
_MARK = 16


class SignInState(NamedTuple):
    """What must be remembered between leaving for the provider and coming back."""

    state_id: str
    verifier: str
    next_url: str
    # Empty for a sign-in; else the person only proves who she is, and her provider has to ask her anew.
    purpose: str = ""

    @property
    def nonce(self) -> str:
        """Return the nonce of the ID token that answers this sign-in."""
        return hashlib.sha256(f"nonce|{self.state_id}".encode()).hexdigest()

    @property
    def challenge(self) -> str:
        """Return the PKCE challenge, method S256."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @property
    def cookie_name(self) -> str:
        """Return the name of the cookie: one per sign-in, so that two tabs don't overwrite each other."""
        return cookie_name(self.state_id)

    def to_cookie(self) -> str:
        """Return the text that the cookie holds."""
        return json.dumps(self._asdict())


def cookie_name(state_id: str) -> str:
    """Return the name of the cookie of a state; the id itself is not in it."""
    return COOKIE_PREFIX + hashlib.sha256(state_id.encode()).hexdigest()[:_MARK]


def new_state(next_url: str, purpose: str = "") -> SignInState:
    """Begin a sign-in, or a proof, that leads to this place of the portal."""
    return SignInState(secrets.token_urlsafe(32), secrets.token_urlsafe(48), next_url, purpose)


def from_cookie(text: str, state_id: str) -> SignInState | None:
    """Return the state that a cookie holds, if it is the one that the provider's answer names."""
    try:
        state = SignInState(**json.loads(text))
    except (ValueError, TypeError):
        return None
    if not all(isinstance(each, str) for each in state):
        return None
    return state if secrets.compare_digest(state.state_id.encode(), state_id.encode()) else None


class UsedStates:
    """Remember the states that were answered, for as long as their cookies could still be shown."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: OrderedDict[str, float] = OrderedDict()

    def use(self, state_id: str) -> bool:
        """Use up a state; False if it was used before."""
        now = self._clock()
        while self._used and (
            next(iter(self._used.values())) < now - LIFETIME or len(self._used) >= LARGEST_MEMORY
        ):
            self._used.popitem(last=False)
        mark = cookie_name(state_id)
        if mark in self._used:
            return False
        self._used[mark] = now
        return True
