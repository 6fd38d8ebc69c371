"""What all front spawners of a hub process share: the catalogue, the clients of the services, the backends.

Made once per hub process, and checked whole before anything starts.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from traitlets.config import Config

from jupyterhub_daas.clients import AccountsClient, ProposalsClient, QuotasClient
from jupyterhub_daas.clients.bank import BankClient
from jupyterhub_daas.clients.base import ServiceClient
from jupyterhub_daas.clients.recorder import AuditRecorder
from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import ConfigurationError
from jupyterhub_daas.spawners.availability import Availabilities, flavours_on
from jupyterhub_daas.spawners.backends.base import Backend, parse_options
from jupyterhub_daas.spawners.turnstile import Turnstile
from jupyterhub_daas.spawners.waiting import LineOptions, WaitingLine

AnyClient = TypeVar("AnyClient", bound=ServiceClient)

KNOWN = {
    "local": "jupyterhub_daas.spawners.backends.local:LocalBackend",
    "kubernetes": "jupyterhub_daas.spawners.backends.kubernetes:KubernetesBackend",
    "openstack": "jupyterhub_daas.spawners.backends.openstack:OpenStackBackend",
    "podman": "jupyterhub_daas.spawners.backends.podman:PodmanBackend",
    "slurm": "jupyterhub_daas.spawners.backends.slurm:SlurmBackend",
    "oar": "jupyterhub_daas.spawners.backends.oar:OarBackend",
}
# The hub calls these on the front spawner only: on a child's class they would silently never run.
OUTER_ONLY = (
    "pre_spawn_hook",
    "post_stop_hook",
    "auth_state_hook",
    "progress_ready_hook",
    "options_form",
    "options_from_form",
    "apply_user_options",
    "server_token_scopes",
    "group_overrides",
)


# How long a service may take for what the hub asks: more than services give each other, so that the one that
# is missing gets named, and enough for the first of a class whose starts keep the hub's loop busy.
DEADLINE_SECONDS = 12.0


@dataclass(frozen=True)
class Deployment:
    """The catalogue, the services and the backends."""

    hub_id: str
    settings: Settings
    catalogue: Catalogue
    proposals: ProposalsClient
    accounts: AccountsClient
    quotas: QuotasClient
    audit: AuditRecorder
    backends: Mapping[str, Backend]
    lines: Mapping[str, WaitingLine]
    # None where no machines are kept ready.
    bank: BankClient | None = None
    # All of a class that starts together would otherwise keep each question waiting until its time is over.
    decisions: Turnstile = field(default_factory=Turnstile)


def build_deployment(
    settings: Settings,
    *,
    service_urls: Mapping[str, str],
    service_token: str,
    backends: Mapping[str, Mapping[str, Any]],
    hub_id: str,
    shared_account: bool,
) -> Deployment:
    """Build all that a profile may need; a ConfigurationError names the trait or the place in the file."""
    if not hub_id:
        raise ConfigurationError("DaasSpawner.hub_id is empty.", field="DaasSpawner.hub_id")
    _need_services(("proposals", "accounts", "quotas"), service_urls)
    catalogue = settings.catalogue
    # A backend that no profile uses may still have sessions from before: it is built if it is configured.
    wanted = {*backends, *(profile.backend for profile in catalogue.profiles.values())}
    built, lines = {}, {}
    for key in sorted(wanted):
        options = dict(backends.get(key, {}))
        place = f"DaasSpawner.backends.{key}"
        ours = {name: options.pop(name) for name in LineOptions.model_fields if name in options}
        built[key] = _build_backend(key, options, hub_id=hub_id, shared_account=shared_account)
        lines[key] = WaitingLine(
            parse_options(LineOptions, ours, place),
            Availabilities(built[key], flavours_on(catalogue, key)),
            own_queue=built[key].own_queue,
        )
    for profile in catalogue.profiles.values():
        built[profile.backend].check_profile(profile, catalogue.environments[profile.environment])
        if profile.key in settings.bank and not built[profile.backend].keeps_machines:
            raise ConfigurationError(
                f"bank.{profile.key}: backend '{profile.backend}' keeps no machines ready. Take it out.",
                field=f"bank.{profile.key}",
            )
    if settings.bank:
        _need_services(("bank",), service_urls)

    def client(cls: type[AnyClient]) -> AnyClient:
        return cls(service_urls[cls.service], service_token, deadline=DEADLINE_SECONDS)

    return Deployment(
        hub_id=hub_id,
        settings=settings,
        catalogue=catalogue,
        proposals=client(ProposalsClient),
        accounts=client(AccountsClient),
        quotas=client(QuotasClient),
        audit=AuditRecorder(client(AccountsClient)),
        backends=built,
        lines=lines,
        bank=client(BankClient) if settings.bank else None,
    )


def _need_services(names: Collection[str], service_urls: Mapping[str, str]) -> None:
    for name in names:
        if name not in service_urls:
            raise ConfigurationError(
                f"DaasSpawner.service_urls lacks '{name}'.", field="DaasSpawner.service_urls"
            )


def check_configuration(config: Config, backends: Mapping[str, Backend]) -> None:
    """Refuse configuration that would silently have no effect."""
    for section in ("Spawner", "DaasSpawner"):
        if "group_overrides" in config.get(section, {}):
            raise ConfigurationError(
                f"{section}.group_overrides does not reach sessions: sizes come from profiles and flavours.",
                field=f"{section}.group_overrides",
            )
    for backend in backends.values():
        for cls in backend.child_classes():
            for section in (each.__name__ for each in cls.__mro__):
                if section == "Spawner":
                    break
                for name in OUTER_ONLY:
                    if name in config.get(section, {}):
                        raise ConfigurationError(
                            f"{section}.{name} would never run: set DaasSpawner.{name}.",
                            field=f"{section}.{name}",
                        )


def _build_backend(key: str, entry: Mapping[str, Any], *, hub_id: str, shared_account: bool) -> Backend:
    place = f"DaasSpawner.backends.{key}"
    options = dict(entry)
    cls = options.pop("class", KNOWN.get(key))
    if isinstance(cls, str):
        cls = _import_class(cls, place)
    if not (isinstance(cls, type) and issubclass(cls, Backend)):
        raise ConfigurationError(f"{place}.class: there is no such backend.", field=place)
    return cls(hub_id=hub_id, shared_account=shared_account, options=options)


def _import_class(path: str, place: str) -> object:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{place}.class: {path} cannot be imported ({error}).", field=place
        ) from error
