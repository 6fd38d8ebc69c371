"""What a person reads when she is not let in: what happened, and what she can do now.

Each sentence is ours: of what a provider or a service sent, only the person's own identity is shown.
"""

from http import HTTPStatus
from typing import NamedTuple

from jupyterhub_daas.authenticators.asking import may_ask
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import (
    AccountBlockedError,
    AccountUnknownError,
    DaasError,
    NoEntryError,
    TooManyAttemptsError,
    UnauthenticatedError,
    UpstreamError,
)


class RefusalPage(NamedTuple):
    """The content of `sign_in_refused.html`; `asker` is who may ask for access from there."""

    status: int
    heading: str
    text: str
    advice: tuple[str, ...] = ()
    identity: Identity | None = None
    code: str = ""
    try_again: bool = True
    asker: Identity | None = None


_SIGNED_IN = "You are signed in, but…"
_OTHER_ACCOUNT = "If you have another account here, sign in with that one."


def page_for(error: DaasError, identity: Identity | None = None) -> RefusalPage:
    """Return the page for a refusal or an outage."""
    if isinstance(error, AccountUnknownError):
        return _unknown(error, identity)
    advice: tuple[str, ...]
    if isinstance(error, AccountBlockedError):
        advice = ("Please contact the user office; they can tell you more and lift the block.",)
        return RefusalPage(403, _SIGNED_IN, error.message, advice, None, error.code, try_again=False)
    if isinstance(error, NoEntryError):
        advice = (
            "Are you part of a proposal? Ask its principal investigator to add you to the participants at "
            "the user office. You can enter as soon as you are on the list.",
            "Is your proposal new? It appears here once it has been accepted.",
            "Do you need access for another reason? Request it below.",
            _OTHER_ACCOUNT,
        )
        text = "You are on no proposal of this facility and have no role here: there is nothing to open."
        return RefusalPage(403, _SIGNED_IN, text, advice, None, error.code, asker=identity)
    if isinstance(error, UpstreamError):
        advice = ("Please try again in a few minutes. Sessions that run go on meanwhile.",)
        return RefusalPage(
            503, "Signing in is not possible right now", error.message, advice, None, error.code
        )
    if isinstance(error, TooManyAttemptsError):
        return RefusalPage(429, "Too many attempts", error.message, (), None, error.code)
    status = HTTPStatus.FORBIDDEN if isinstance(error, UnauthenticatedError) else HTTPStatus.BAD_REQUEST
    return RefusalPage(status, "You are not signed in", error.message, (), None, error.code)


def _unknown(error: DaasError, identity: Identity | None) -> RefusalPage:
    if not may_ask(error):
        return RefusalPage(403, _SIGNED_IN, error.message, (_OTHER_ACCOUNT,), identity, error.code)
    if error.details.get("cause") == "disputed":
        text = (
            "The user office and the links made here say that this account belongs to two different people."
        )
        advice = (
            "Request access below: staff decides whose it is. Or contact the user office, and give them the "
            "identity shown below.",
            _OTHER_ACCOUNT,
        )
        return RefusalPage(403, _SIGNED_IN, text, advice, identity, error.code, asker=identity)
    text = "The facility does not know yet which person belongs to the account that you signed in with."
    advice = (
        "Do you have another account that works here? Link this one to it: sign in with the other, and "
        "confirm on the page Sign-in methods, which then opens.",
        "If not, request access below: staff of the facility links this account to you.",
    )
    return RefusalPage(403, _SIGNED_IN, text, advice, identity, error.code, asker=identity)
