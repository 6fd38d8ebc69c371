"""What comes in at a login, and what the hub keeps of it.

The kept state is encrypted by the hub. It names the identity that was admitted, so that a refresh can ask for
exactly that one again.
"""

import time
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from jupyterhub_daas.authenticators.gate import Admission
from jupyterhub_daas.authenticators.openid import SignIn, Tokens
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import UnauthenticatedError

LONGEST_NAME = 64
_WITHOUT_TOKENS = Tokens("", "", "", 0.0)


class Arrival(NamedTuple):
    """A person who came back from a provider with a proven identity."""

    provider: str
    sign_in: SignIn

    def get(self, key: str, default: Any = None) -> Any:
        """Answer the hub, which asks a login for its ``username`` when it failed."""
        return default


class PasswordGiven(NamedTuple):
    """A name and a password as somebody typed them, cut to a length that is safe to count and to log.

    `source` is the key of the accounts that are meant; empty means the first ones.
    """

    username: str
    password: str
    source: str = ""

    @classmethod
    def parse(cls, data: Any) -> "PasswordGiven":
        """Read what the login form or a JSON body holds."""
        if not isinstance(data, dict):
            raise UnauthenticatedError("Please give a username and a password.", cause="no_data")
        username, password = data.get("username"), data.get("password")
        if not isinstance(username, str) or not isinstance(password, str) or not username or not password:
            raise UnauthenticatedError("Please give a username and a password.", cause="no_data")
        source = data.get("source", "")
        return cls(username[:LONGEST_NAME], password, source if isinstance(source, str) else "?")


class KeptLogin(Model):
    """The `auth_state` of a person who signed in; `provider` is empty for a facility account."""

    v: Annotated[int, Field(ge=1, le=1)] = 1
    username: str
    provider: str
    identity: Identity
    tokens: Tokens
    admitted_at: float
    signed_out: bool = False
    refused: bool = False
    entitled_groups: tuple[str, ...] = ()

    @classmethod
    def parse(cls, auth_state: Any) -> "KeptLogin | None":
        """Return the state, or None if there is none that we understand."""
        try:
            return cls.model_validate(auth_state)
        except ValidationError:
            return None

    def dump(self) -> dict[str, Any]:
        """Return what the hub encrypts and stores."""
        return self.model_dump(mode="json")


def auth_model(
    admission: Admission, identity: Identity, *, provider: str, tokens: Tokens | None
) -> dict[str, Any]:
    """Return what the hub wants to know of an admitted person who just signed in."""
    kept = KeptLogin(
        username=admission.person.username,
        provider=provider,
        identity=identity,
        tokens=tokens or _WITHOUT_TOKENS,
        admitted_at=time.time(),
        entitled_groups=admission.entitled_groups or (),
    )
    return model_of(admission, kept)


def model_of(admission: Admission, kept: KeptLogin) -> dict[str, Any]:
    """Return the auth model of an admission; `user_info` is seen by others, so it holds the name only."""
    groups = sorted({*admission.groups, *kept.entitled_groups})
    return {**standing_of(admission), "groups": groups, "auth_state": kept.dump()}


def standing_of(admission: Admission) -> dict[str, Any]:
    """Return the part of an auth model that does not depend on a login; nobody is the hub's own admin."""
    return {
        "name": admission.person.username,
        "admin": False,
        "groups": admission.groups,
        "user_info": {"name": admission.person.display_name or admission.person.username},
    }
