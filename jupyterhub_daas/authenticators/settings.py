"""The authenticator's configuration: validated once, at start, each error with the place of the trait."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from jupyterhub_daas.authenticators.openid import OpenIDProvider, ProviderSettings
from jupyterhub_daas.errors import ConfigurationError

SERVICES = ("proposals", "accounts")
# What the gate relies on; switched off, a refusal would no longer end anything.
DEMANDED = ("enable_auth_state", "manage_groups", "auth_refresh_strict")
# Each of these would let somebody in, or make somebody an administrator, because of a name.
FORBIDDEN = ("admin_users", "allowed_users", "allow_existing_users", "username_map", "manage_roles")


def read_providers(configured: Sequence[Any]) -> dict[str, OpenIDProvider]:
    """Return the providers by key, in the order of the login page."""
    found: dict[str, OpenIDProvider] = {}
    for index, fields in enumerate(configured):
        place = f"DaasAuthenticator.providers[{index}]"
        try:
            settings = ProviderSettings.model_validate(dict(fields))
        except (ValidationError, TypeError, ValueError) as error:
            raise ConfigurationError(
                _explain(place, error), field=place
            ) from None  # the input holds a secret
        if settings.key in found:
            raise ConfigurationError(f"{place}.key: {settings.key!r} is there twice.", field=f"{place}.key")
        found[settings.key] = OpenIDProvider(settings)
    return found


def check_traits(values: Mapping[str, Any]) -> None:
    """Refuse traits that would open the gate or leave refusals without effect."""
    for name in DEMANDED:
        if not values[name]:
            raise ConfigurationError(
                f"DaasAuthenticator.{name} must be True.", field=f"DaasAuthenticator.{name}"
            )
    for name in FORBIDDEN:
        if values[name]:
            raise ConfigurationError(
                f"DaasAuthenticator.{name} must stay empty: nobody enters or becomes an administrator "
                "through a name. Give a role in the accounts service instead.",
                field=f"DaasAuthenticator.{name}",
            )
    if values["auth_refresh_age"] <= 0:
        place = "DaasAuthenticator.auth_refresh_age"
        raise ConfigurationError(f"{place} must be positive: refusals take effect at a refresh.", field=place)


def check_services(urls: Mapping[str, str]) -> None:
    """Refuse to start without the services that the gate asks."""
    missing = [name for name in SERVICES if not urls.get(name)]
    if missing:
        place = "DaasAuthenticator.service_urls"
        raise ConfigurationError(f"{place} lacks {' and '.join(missing)}.", field=place)


def _explain(place: str, error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"{place}: must be a mapping."
    details = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join([place, *map(str, each['loc'])])}: {each['msg']}" for each in details)
