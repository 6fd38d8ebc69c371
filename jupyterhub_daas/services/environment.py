"""What a service is told by the hub that starts it, and by `configure`."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import ConfigurationError

SETTINGS_VARIABLE = "DAAS_SETTINGS"
DATABASE_VARIABLE = "DAAS_DATABASE_URL"
URLS_VARIABLE = "DAAS_SERVICE_URLS"


def read_settings(path: Path) -> Settings:
    """Read and validate the settings file; each error names its place."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", field=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}", field=str(path)) from None
    try:
        return Settings.parse(content)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error.message}", field=error.field) from None


@dataclass(frozen=True)
class ServiceEnvironment:
    """Where a service listens, whom it asks, and with which token; the token never leaves by repr."""

    name: str
    prefix: str
    host: str
    port: int
    hub_api_url: str
    api_token: str = field(repr=False)
    database_url: str = field(repr=False)
    settings_path: Path
    settings: Settings = field(repr=False)
    service_urls: Mapping[str, str]

    @classmethod
    def read(cls, name: str, environ: Mapping[str, str] = os.environ) -> "ServiceEnvironment":
        """Take everything from the process environment, or say what is missing."""
        try:
            listen = urlsplit(environ["JUPYTERHUB_SERVICE_URL"])
            path = Path(environ[SETTINGS_VARIABLE])
            return cls(
                name=name,
                prefix=environ["JUPYTERHUB_SERVICE_PREFIX"],
                host=listen.hostname or "127.0.0.1",
                port=listen.port or 0,
                hub_api_url=environ["JUPYTERHUB_API_URL"],
                api_token=environ["JUPYTERHUB_API_TOKEN"],
                database_url=environ[DATABASE_VARIABLE],
                settings_path=path,
                settings=read_settings(path),
                service_urls=json.loads(environ.get(URLS_VARIABLE, "{}")),
            )
        except KeyError as error:
            raise ConfigurationError(
                f"The service {name} is started by the hub; variable {error.args[0]} is missing.",
                field=str(error.args[0]),
            ) from None
