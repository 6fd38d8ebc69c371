"""What a facility configures of an identity provider; everything else is found by discovery.

The issuer has no default and is compared exactly: it is half of the key of every identity.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from jupyterhub_daas.authenticators.openid.transport import is_protected
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class ProviderSettings(Model):
    """One OpenID provider on the login page."""

    key: Slug
    title: Annotated[str, Field(min_length=1, max_length=80)]
    description: Annotated[str, Field(max_length=300)] = ""
    logo: Annotated[str, Field(pattern=r"^(/[^/]|https://)")] | None = None
    issuer: Annotated[str, Field(max_length=255)]
    client_id: Annotated[str, Field(min_length=1, max_length=255)]
    client_secret: SecretStr | None = None
    client_secret_file: Path | None = None
    client_authentication: Literal["post", "basic", "none"] = "post"
    scope: tuple[str, ...] = ("openid", "profile", "email")
    callback_url: str | None = None

    @field_validator("issuer", "callback_url")
    @classmethod
    def _is_protected(cls, url: str | None) -> str | None:
        if url is not None and not is_protected(url):
            raise ValueError("must be an https:// URL (http:// is for this machine only)")
        return url

    @field_validator("scope", mode="before")
    @classmethod
    def _split(cls, scope: Any) -> Any:
        return tuple(scope.split()) if isinstance(scope, str) else scope

    @field_validator("scope")
    @classmethod
    def _asks_for_an_identity(cls, scope: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scope:
            raise ValueError("must contain 'openid'")
        if not all(_SCOPE.fullmatch(each) for each in scope):
            raise ValueError("contains a character that no scope may have")
        return scope

    @model_validator(mode="after")
    def _has_one_secret(self) -> "ProviderSettings":
        given = [each for each in (self.client_secret, self.client_secret_file) if each is not None]
        wanted = 0 if self.client_authentication == "none" else 1
        if len(given) != wanted:
            raise ValueError(
                "needs exactly one of client_secret and client_secret_file"
                if wanted
                else "has client_authentication 'none', so it takes no secret"
            )
        return self

    def secret(self) -> str:
        """Return the client's secret, read from its file if it is in one."""
        if self.client_secret_file is not None:
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        return "" if self.client_secret is None else self.client_secret.get_secret_value()
