"""The facility's settings: one file, validated whole at start, each error with its place in the file."""

from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.bank import BankRule
from jupyterhub_daas.core.catalogue import Catalogue, Environment, Flavour, Profile, take_keys
from jupyterhub_daas.core.lifetimes import LifetimeRule
from jupyterhub_daas.core.links import IdentitySettings
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug, Username
from jupyterhub_daas.core.people import RoleGrant
from jupyterhub_daas.core.quota import QuotaPolicy
from jupyterhub_daas.core.reconciliation import ReconciliationPolicy
from jupyterhub_daas.errors import ConfigurationError

Line = Annotated[str, Field(max_length=300)]
Paragraph = Annotated[str, Field(max_length=20_000)]
Link = Annotated[str, Field(max_length=2000, pattern=r"^(https?://|mailto:|/)")]


class Partner(Model):
    """An organisation named on the partners page."""

    name: Line
    url: Link | None = None
    description: Paragraph = ""


class Facility(Model):
    """How the portal presents itself; `instrument_word` is what people there call an instrument."""

    name: Line = "Example Light Source"
    portal: Line = "Data Analysis as a Service"
    logo: Annotated[str, Field(max_length=2000)] | None = None
    footer: Line = ""
    about: Paragraph = ""
    audience: Paragraph = ""
    requirements: Paragraph = ""
    support: Link | None = None
    instrument_word: Line = "Beamline"
    partners: tuple[Partner, ...] = ()
    demo: bool = False


class Conditions(Model):
    """The conditions of use; a new `version` asks everybody again."""

    version: Annotated[str, Field(min_length=1, max_length=40)] = "1"
    title: Line = "Conditions of use"
    text: Paragraph = ""


class Directory(Model):
    """Where proposals come from: a connector, its file, and the folders that data may lie in."""

    connector: Slug = "file"
    file: str | None = None
    roots: Annotated[tuple[str, ...], Field(max_length=100)] = ()


class LifecycleSettings(ReconciliationPolicy):
    """How often sessions are compared and ended; seconds."""

    interval_seconds: Annotated[float, Field(gt=0)] = 30.0


class Settings(Model):
    """The whole file."""

    facility: Facility = Facility()
    conditions: Conditions = Conditions()
    directory: Directory = Directory()
    environments: dict[Slug, Environment] = Field(default_factory=dict)
    flavours: dict[Slug, Flavour] = Field(default_factory=dict)
    profiles: dict[Slug, Profile] = Field(default_factory=dict)
    quotas: QuotaPolicy = QuotaPolicy()
    lifetimes: tuple[LifetimeRule, ...] = ()
    lifecycle: LifecycleSettings = LifecycleSettings()
    identities: IdentitySettings = IdentitySettings()
    bank: dict[Slug, BankRule] = Field(default_factory=dict)
    roles: dict[Username, tuple[RoleGrant, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _take_keys_from_places(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        keyed = {
            name: take_keys(value[name]) for name in ("environments", "flavours", "profiles") if name in value
        }
        return {**value, **keyed}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _ = self.catalogue
        default = self.quotas.default_flavour
        if default is not None and default not in self.flavours:
            raise ValueError(f"quotas.default_flavour: no flavour {default!r}")
        for profile in self.bank:
            if profile not in self.profiles:
                raise ValueError(f"bank.{profile}: no profile {profile!r}")
        return self

    @cached_property
    def catalogue(self) -> Catalogue:
        """Return what the facility offers; made once, for pages ask for it each time."""
        return Catalogue(environments=self.environments, flavours=self.flavours, profiles=self.profiles)

    @classmethod
    def parse(cls, content: object) -> "Settings":
        """Validate the content of the file; the error names every wrong place."""
        try:
            return cls.model_validate(content if content is not None else {})
        except ValidationError as error:
            places = [
                f"{'.'.join(str(part) for part in each['loc']) or 'file'}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False)
            ]
            raise ConfigurationError("; ".join(places), field=places[0].split(":")[0]) from None
