"""Lifetimes: when a session ends, by role and flavour."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug
from jupyterhub_daas.core.people import Role

Hours = Annotated[float, Field(gt=0, le=24 * 366, allow_inf_nan=False)]


class LifetimeRule(Model):
    """Lifetime and idle limit in hours; empty `roles` or `flavours` means all, ``None`` no limit."""

    lifetime_hours: Hours | None = None
    idle_hours: Hours | None = None
    roles: tuple[Role, ...] = ()
    flavours: tuple[Slug, ...] = ()


class Lifetime(Model):
    """What holds for one session."""

    lifetime: timedelta | None = None
    idle: timedelta | None = None

    def within(self, longest: timedelta | None) -> "Lifetime":
        """Return what holds where no session may run longer than that."""
        if longest is None or (self.lifetime is not None and self.lifetime <= longest):
            return self
        return self.model_copy(update={"lifetime": longest})

    def expires_at(self, start: datetime) -> datetime | None:
        """Return when a session that starts now ends at the latest."""
        return None if self.lifetime is None else start + self.lifetime


def lifetime_for(rules: Collection[LifetimeRule], *, roles: Collection[Role], flavour: str) -> Lifetime:
    """Return what the first fitting rule of the file says; without one nothing limits the session."""
    for rule in rules:
        if (not rule.roles or set(rule.roles).intersection(roles)) and (
            not rule.flavours or flavour in rule.flavours
        ):
            return Lifetime(lifetime=_span(rule.lifetime_hours), idle=_span(rule.idle_hours))
    return Lifetime()


def _span(hours: float | None) -> timedelta | None:
    return None if hours is None else timedelta(hours=hours)
