"""What a facility offers: environments, flavours, and the profiles that join them to backends."""

from enum import Enum
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.resources import Bytes, Count, Cpus, Resources

Text = Annotated[str, Field(max_length=2000)]


class EnvironmentKind(str, Enum):
    """How a person meets the software."""

    JUPYTER = "jupyter"
    DESKTOP = "desktop"
    WEB = "web"
    VM = "vm"


class Environment(Model):
    """The software a person asks for."""

    key: Slug
    title: Annotated[str, Field(min_length=1, max_length=80)]
    kind: EnvironmentKind
    description: Text = ""


class Flavour(Model):
    """A size; one session of it holds one machine."""

    key: Slug
    title: Annotated[str, Field(min_length=1, max_length=80)]
    cpus: Cpus
    memory: Bytes
    storage: Bytes = 0
    gpus: Count = 0

    @property
    def resources(self) -> Resources:
        """Return what one session of this flavour holds."""
        return Resources(machines=1, cpus=self.cpus, memory=self.memory, storage=self.storage, gpus=self.gpus)


class Profile(Model):
    """What is offered: an environment on a backend in some flavours, to some instruments and roles.

    Empty `instruments` or `roles` means all of them. `options` are the backend's own, checked there.
    """

    key: Slug
    environment: Slug
    backend: Slug
    flavours: Annotated[tuple[Slug, ...], Field(min_length=1)]
    default_flavour: Slug
    instruments: tuple[Slug, ...] = ()
    roles: tuple[Role, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _first_flavour_is_default(cls, value: Any) -> Any:
        if isinstance(value, dict) and "default_flavour" not in value and value.get("flavours"):
            return {**value, "default_flavour": value["flavours"][0]}
        return value

    @model_validator(mode="after")
    def _default_is_offered(self) -> Self:
        if self.default_flavour not in self.flavours:
            raise ValueError(f"default_flavour {self.default_flavour!r} is not among the flavours")
        return self


def take_keys(value: Any) -> Any:
    """Give each entry of a mapping its key: in the file that is its place."""
    if isinstance(value, dict):
        return {
            key: {"key": key, **entry} if isinstance(entry, dict) else entry for key, entry in value.items()
        }
    return value


class Catalogue(Model):
    """All environments, flavours and profiles of a facility, each by its key."""

    environments: dict[Slug, Environment] = Field(default_factory=dict)
    flavours: dict[Slug, Flavour] = Field(default_factory=dict)
    profiles: dict[Slug, Profile] = Field(default_factory=dict)

    @field_validator("environments", "flavours", "profiles", mode="before")
    @classmethod
    def _take_key_from_place(cls, value: Any) -> Any:
        return take_keys(value)

    @model_validator(mode="after")
    def _keys_are_places(self) -> Self:
        for section in ("environments", "flavours", "profiles"):
            for place, entry in getattr(self, section).items():
                if entry.key != place:
                    raise ValueError(f"{section}.{place}: its key is {entry.key!r}; leave it out")
        return self

    @model_validator(mode="after")
    def _profiles_name_what_exists(self) -> Self:
        for profile in self.profiles.values():
            if profile.environment not in self.environments:
                raise ValueError(f"profiles.{profile.key}: no environment {profile.environment!r}")
            for flavour in profile.flavours:
                if flavour not in self.flavours:
                    raise ValueError(f"profiles.{profile.key}: no flavour {flavour!r}")
        return self
