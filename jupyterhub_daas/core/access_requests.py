"""Requests for access: what somebody whom the gate does not let in writes to staff, and what became of it.

Name and e-mail are what the person says of herself. They are for answering her, and lead to nobody.
"""

from enum import Enum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Username
from jupyterhub_daas.core.people import Identity

MAX_MESSAGE = 2000
MAX_ANSWER = 500
EMAIL = r"^[^\s@]+@[^\s@]+$"


def _shown(text: str) -> str:
    # Characters without a shape of their own could show staff another text than the one that was sent.
    if not text.replace("\n", "").isprintable():
        raise ValueError("has characters that can't be shown")
    return text


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of characters that can be shown")
    return text


_Text = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_shown)]
_Line = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_line)]
Message = Annotated[_Text, Field(min_length=1, max_length=MAX_MESSAGE)]
Answer = Annotated[_Text, Field(max_length=MAX_ANSWER)]


class RequestState(str, Enum):
    """What became of a request."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"


class AskedAccess(Model):
    """What comes in: who asks, by which provider or source, and why.

    `username` is the person to whom a facility account belongs by its name; None for any other identity.
    """

    identity: Identity
    username: Username | None = None
    provider: Annotated[_Line, Field(max_length=80)] = ""
    name: Annotated[_Line, Field(min_length=1, max_length=200)]
    email: Annotated[_Line, Field(min_length=3, max_length=254, pattern=EMAIL)]
    message: Message


class AccessRequest(Model):
    """A request as it is kept; `username` is the person whom the identity led to, if it did."""

    id: Annotated[int, Field(ge=1)]
    identity: Identity
    username: Username | None = None
    provider: str = ""
    name: str
    email: str
    message: str
    state: RequestState
    created_at: Moment
    answer: str | None = None
    answered_at: Moment | None = None
    answered_by: str | None = None
