"""The waist between the front spawner and the places where sessions run.

A backend gets a Launch and nothing else: never a person's own text. Everything that it makes outside the hub
carries the hub's id and the session's id, so that after any crash both sides can be compared.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

from jupyterhub.spawner import Spawner
from pydantic import BaseModel, ValidationError

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Environment, Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.errors import ConfigurationError

Options = TypeVar("Options", bound=BaseModel)


class Backend(ABC):
    """One place where sessions run; made once per hub process.

    `given` are the constructor arguments that the hub made for the front spawner; a child gets them too.
    """

    key: ClassVar[str] = "backend"
    # Whether starts wait in the backend's own queue, whose words its children's progress then tells. Such a
    # backend is not asked whether there is room before a session is started there.
    own_queue: ClassVar[bool] = False
    # Whether it can keep machines ready for sessions to come, as the settings' ``bank`` says.
    keeps_machines: ClassVar[bool] = False

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        """Check the facility's options for this backend; raise ConfigurationError where they are wrong."""
        self.hub_id = hub_id
        self.shared_account = shared_account

    @abstractmethod
    def build_child(self, launch: Launch, given: Mapping[str, Any]) -> Spawner:
        """Build the spawner that will start this session; no I/O that can block."""

    @abstractmethod
    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> Spawner:
        """Build the spawner of a session that was started before; its state is loaded afterwards."""

    @abstractmethod
    async def things(self) -> frozenset[str]:
        """Return the session ids of all that the backend has of this hub; raise when it cannot tell."""

    @abstractmethod
    async def remove(self, session_id: str) -> None:
        """End all that carries this session's id, and return when nothing of it is left."""

    def stops_at(self, session_id: str) -> datetime | None:
        """Return when a session has to have ended for its backend not to do it by force; None if it never
        does."""
        return None

    async def resources(self, flavours: Sequence[Flavour]) -> tuple[Availability, ...]:
        """Return what can start now of these flavours; a flavour that is left out is not counted.

        May be slow and may raise: the front asks beside the pages, and keeps the answer for some seconds.
        """
        return ()

    async def read_log(self, session_id: str, *, lines: int) -> str:
        """Return the last lines of a session's own log, for its owner only; raise if it cannot be read."""
        return "This backend keeps no log of a session."

    def longest(self, profile: Profile, flavour: Flavour, roles: tuple[Role, ...]) -> timedelta | None:
        """Return how long the backend lets a session run; ``None`` where it sets no limit of its own."""
        return None

    def child_classes(self) -> tuple[type[Spawner], ...]:
        """Return the classes whose configuration is checked when the hub starts."""
        return ()

    def check_profile(self, profile: Profile, environment: Environment) -> None:
        """Check a profile when the hub starts; a backend without options of its own refuses any."""
        if profile.options:
            raise ConfigurationError(
                f"profiles.{profile.key}.options: backend '{self.key}' knows no options of a profile.",
                field=f"profiles.{profile.key}.options",
            )


def parse_options(model: type[Options], options: Mapping[str, Any], place: str) -> Options:
    """Validate a mapping of options; the error names each wrong place below `place`."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        wrong = [
            f"{place}.{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigurationError("; ".join(wrong), field=place) from None


def refuse_certificates(given: Mapping[str, Any], who: str) -> None:
    """Refuse JupyterHub.internal_ssl where sessions get no certificates."""
    if given.get("internal_ssl"):
        raise ConfigurationError(
            f"{who} gives sessions no certificates: switch JupyterHub.internal_ssl off.",
            field="JupyterHub.internal_ssl",
        )
