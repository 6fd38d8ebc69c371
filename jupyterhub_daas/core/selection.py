"""A Selection is the only form in which a person's choice reaches anything that acts on it.

Form, REST, and options stored with a session all pass through `Selection.parse`, at each start again.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, ValidationError

from jupyterhub_daas.core.catalogue import Catalogue, Profile
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Identifier, Slug
from jupyterhub_daas.errors import (
    InvalidOptionError,
    UnknownEnvironmentError,
    UnknownFlavourError,
    UnknownProfileError,
)

MAX_DATASETS = 100
# Tells whether a profile is offered to the person who asks.
Offered = Callable[[Profile], bool]

# A pid is the catalogue's own text, but one line of it.
Pid = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Options(Model):
    """The options as they arrive."""

    proposal: Identifier
    environment: Slug | None = None
    backend: Slug | None = None
    profile: Slug | None = None
    flavour: Slug | None = None
    datasets: Annotated[tuple[Pid, ...], Field(max_length=MAX_DATASETS)] = ()


class Selection(Model):
    """Validated options of one start."""

    proposal: Identifier
    environment: Slug
    backend: Slug
    profile: Slug
    flavour: Slug
    datasets: tuple[str, ...] = ()

    @classmethod
    def parse(cls, options: object, catalogue: Catalogue, *, offered: Offered | None = None) -> "Selection":
        """Validate untrusted options against what the facility offers.

        A profile, or an environment (and a backend), must be named; the flavour defaults to the profile's.
        Where several profiles are meant, it is the first that is `offered` to the person, and without one
        the first: whether it may be started is not judged here.
        """
        if not isinstance(options, dict):
            raise InvalidOptionError("The options of a start must be an object with at least a proposal.")
        try:
            asked = _Options.model_validate(options)
        except ValidationError as error:
            raise _invalid(error) from None
        profile = _profile_for(asked, catalogue, offered)
        flavour = asked.flavour or profile.default_flavour
        if flavour not in profile.flavours:
            choices = ", ".join(profile.flavours)
            raise UnknownFlavourError(
                f"Flavour '{flavour}' is not offered here. Choose one of: {choices}.", field="flavour"
            )
        return cls(
            proposal=asked.proposal,
            environment=profile.environment,
            backend=profile.backend,
            profile=profile.key,
            flavour=flavour,
            datasets=asked.datasets,
        )

    def options(self) -> dict[str, Any]:
        """Return the canonical options; parsing them gives this Selection again."""
        return self.model_dump(mode="json")


def _invalid(error: ValidationError) -> InvalidOptionError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # The key may be the person's own text: cut it, and never repeat the value.
    field = ".".join(str(part) for part in first["loc"])[:60]
    if first["type"] == "extra_forbidden":
        return InvalidOptionError(f"Option {field!r} is not known. Leave it out.", field=field)
    if first["type"] == "missing":
        return InvalidOptionError(f"Option {field!r} is missing.", field=field)
    return InvalidOptionError(f"Option {field!r} does not have the right form.", field=field)


def _profile_for(asked: _Options, catalogue: Catalogue, offered: Offered | None) -> Profile:
    if asked.environment is not None and asked.environment not in catalogue.environments:
        choices = ", ".join(catalogue.environments)
        raise UnknownEnvironmentError(
            f"Environment '{asked.environment}' is not offered here. Choose one of: {choices}.",
            field="environment",
        )
    if asked.profile is None and asked.environment is None:
        raise InvalidOptionError("Option 'environment' is missing.", field="environment")
    fitting = [
        profile
        for profile in catalogue.profiles.values()
        if asked.profile in (None, profile.key)
        and asked.environment in (None, profile.environment)
        and asked.backend in (None, profile.backend)
    ]
    if not fitting:
        raise UnknownProfileError(
            "Nothing that is offered fits this choice of environment, profile and backend.", field="profile"
        )
    if offered is not None:
        fitting = [profile for profile in fitting if offered(profile)] or fitting
    # Where several profiles offer the environment, the one that has the flavour is meant.
    return next((profile for profile in fitting if asked.flavour in profile.flavours), fitting[0])
