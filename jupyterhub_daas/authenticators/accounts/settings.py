"""What a facility configures of its sources of accounts: validated whole, at start.

The usernames of at most one source are those of the facility's people, unless the facility says that its
sources name the same people: else whoever may make accounts in one of them could be anybody of the other.
"""

import ssl
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from jupyterhub_daas.authenticators.accounts.file import FileAccounts
from jupyterhub_daas.authenticators.accounts.source import AccountSource
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug
from jupyterhub_daas.errors import ConfigurationError

PLACE = "DaasAuthenticator.account_sources"
LDAPS_PORT = 636


class SourceSettings(Model):
    """What all sources have; `person` says who an account is."""

    key: Slug
    title: Annotated[str, Field(min_length=1, max_length=80)]
    description: Annotated[str, Field(max_length=300)] = ""
    person: Literal["username", "link"] = "username"


class FileSettings(SourceSettings):
    """Accounts in a YAML file."""

    kind: Literal["file"]
    path: Path

    def open(self, place: str) -> AccountSource:
        """Return the source."""
        return FileAccounts(self.path, place=f"{place}.path")


class PamSettings(SourceSettings):
    """Accounts of the hub's machine."""

    kind: Literal["pam"]
    service: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    lowest_uid: Annotated[int, Field(ge=1)] = 1000

    def open(self, place: str) -> AccountSource:
        """Return the source."""
        from jupyterhub_daas.authenticators.accounts.pam import PamAccounts

        return PamAccounts(
            self.service, title=self.title, lowest_uid=self.lowest_uid, place=f"{place}.service"
        )


class LdapSettings(SourceSettings):
    """Accounts in a directory."""

    kind: Literal["ldap"]
    url: Annotated[str, Field(max_length=500)]
    base: Annotated[str, Field(min_length=3, max_length=250)]
    bind_dn: Annotated[str, Field(min_length=3, max_length=500)]
    bind_password_file: Path
    ca_file: Path | None = None
    username_attribute: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] = "uid"
    filter: Annotated[str, Field(pattern=r"^\(.+\)$", max_length=1000)] = "(objectClass=*)"

    @field_validator("url")
    @classmethod
    def _is_protected(cls, url: str) -> str:
        parts = urlsplit(url)
        more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
        if parts.scheme != "ldaps" or not parts.hostname or more or parts.port == 0:
            raise ValueError("must be ldaps://HOST or ldaps://HOST:PORT: passwords travel over TLS only")
        return url

    def open(self, place: str) -> AccountSource:
        """Return the source; it is not asked yet."""
        try:
            from jupyterhub_daas.authenticators.accounts import ldap
        except ImportError as error:
            raise ConfigurationError(
                f"{place}.kind: 'ldap' needs python-ldap: pip install 'jupyterhub-daas[ldap]'.",
                field=f"{place}.kind",
            ) from error
        parts = urlsplit(self.url)
        directory = ldap.Directory(
            host=str(parts.hostname),
            port=parts.port or LDAPS_PORT,
            base=self.base,
            bind_dn=self.bind_dn,
            password=self._password(place),
            attribute=self.username_attribute,
            filter=self.filter,
            context=self._context(place),
        )
        return ldap.LdapAccounts(directory, title=self.title)

    def _password(self, place: str) -> str:
        field = f"{place}.bind_password_file"
        try:
            password = self.bind_password_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{field}: cannot be read.", field=field) from error
        if not password:  # a bind without a password succeeds, as nobody
            raise ConfigurationError(f"{field}: is empty.", field=field)
        return password

    def _context(self, place: str) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        except OSError as error:
            field = f"{place}.ca_file"
            raise ConfigurationError(f"{field}: holds no certificates.", field=field) from error


class Accounts(NamedTuple):
    """A source with its settings."""

    settings: SourceSettings
    source: AccountSource


_ENTRY: TypeAdapter[FileSettings | PamSettings | LdapSettings] = TypeAdapter(
    Annotated[FileSettings | PamSettings | LdapSettings, Field(discriminator="kind")]
)


def read_sources(configured: Sequence[Any], *, same_people: bool) -> dict[str, Accounts]:
    """Return the sources by key, in the order of the login page."""
    found: dict[str, Accounts] = {}
    for index, fields in enumerate(configured):
        place = f"{PLACE}[{index}]"
        try:
            settings = _ENTRY.validate_python(dict(fields))
        except (ValidationError, TypeError, ValueError) as error:
            raise ConfigurationError(_explain(place, error), field=place) from None
        if settings.key in found:
            raise ConfigurationError(f"{place}.key: {settings.key!r} is there twice.", field=f"{place}.key")
        found[settings.key] = Accounts(settings, settings.open(place))
    _check_people(found, same_people=same_people)
    return found


def _check_people(found: dict[str, Accounts], *, same_people: bool) -> None:
    counted = Counter(each.source.issuer for each in found.values())
    twice = [issuer for issuer, number in counted.items() if number > 1]
    if twice:
        raise ConfigurationError(f"{PLACE}: two sources have the issuer {twice[0]!r}.", field=PLACE)
    naming = [key for key, each in found.items() if each.settings.person == "username"]
    if len(naming) > 1 and not same_people:
        raise ConfigurationError(
            f"{PLACE}: {' and '.join(map(repr, naming))} both say who a person is by the username, so an "
            "account in one could be somebody else in the other. Give all but one person: 'link', or set "
            "DaasAuthenticator.sources_name_the_same_people if the same name is the same person in all.",
            field=PLACE,
        )


def _explain(place: str, error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"{place}: must be a mapping."
    details = error.errors(include_url=False, include_input=False)
    # The discriminator is part of the location, but not of what somebody wrote.
    return "; ".join(
        f"{'.'.join([place, *(str(part) for part in each['loc'] if part not in ('file', 'pam', 'ldap'))])}: "
        f"{each['msg']}"
        for each in details
    )
