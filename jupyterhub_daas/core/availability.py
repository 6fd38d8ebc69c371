"""Availability: how many sessions of a flavour a backend could start now, in the words that a form shows.

It is a hint for people and for the queue, never a permission: what does not fit any more waits.
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug
from jupyterhub_daas.core.resources import Count


class Availability(Model):
    """One flavour on one backend.

    `fits`: a session of it can start there at some time; `free`: how many could start now, `None` where
    nobody counts; `reason` says in one sentence why there is none; `since` and `until`: when that began and
    will end, where the backend knows.
    """

    flavour: Slug
    fits: bool = True
    free: Count | None = None
    reason: Annotated[str, Field(max_length=300)] = ""
    since: datetime | None = None
    until: datetime | None = None

    @model_validator(mode="after")
    def _nothing_is_free_of_what_never_fits(self) -> Self:
        if not self.fits and self.free:
            raise ValueError("a flavour that does not fit has none free")
        return self
