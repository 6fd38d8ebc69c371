"""The one entry of configuration, and the only module that knows all the others.

In `jupyterhub_config.py`::

    from jupyterhub_daas.configure import configure
    configure(c, "daas.yaml")
"""

import atexit
import json
import os
import secrets
import socket
import sqlite3
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jupyterhub_daas import roles
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import ConfigurationError
from jupyterhub_daas.services.environment import (
    DATABASE_VARIABLE,
    SETTINGS_VARIABLE,
    URLS_VARIABLE,
    read_settings,
)
from jupyterhub_daas.services.parent import PARENT_VARIABLE
from jupyterhub_daas.services.portal.look import Look
from jupyterhub_daas.spawners.names import SessionGate

BANK = "bank"
SERVICES = ("proposals", "quotas", "accounts", "lifecycle", "portal")
HUB_SERVICE = "daas-hub"
# The ports of the services of the hub that this process is, for as long as it lives.
_HELD: list[socket.socket] = []


def configure(
    c: Any,
    settings: str | Path = "daas.yaml",
    *,
    state: str | Path | None = None,
    database_url: str | None = None,
    service_urls: Mapping[str, str] | None = None,
    services: Collection[str] = SERVICES,
) -> Settings:
    """Set up the hub as the portal.

    `settings` is the file of environments, flavours, profiles and policies; `state` the folder of the
    services' data (default: ``daas`` beside it); `database_url` one database for all services instead of an
    SQLite file each. `service_urls` names services of the facility's own, by ``proposals``, ``quotas``, …:
    these are asked there and not started here. Raise ConfigurationError, with the place, if anything does
    not fit.
    """
    path = Path(settings).resolve()
    parsed = read_settings(path)
    folder = _private_folder(Path(state) if state is not None else path.parent / "daas")
    base = str(c.JupyterHub.get("base_url", "/")).rstrip("/") + "/"
    own = dict(service_urls or {})
    unknown = {*own, *services} - {*SERVICES, BANK}
    if unknown:
        raise ConfigurationError(f"There is no service {sorted(unknown)[0]!r}.", field="services")
    # The bank is for facilities that keep machines ready: others have no process for it.
    wanted = [*services, BANK] if parsed.bank else services
    started = _free_addresses([name for name in wanted if name not in own])
    urls = {name: f"{address}{base}services/{name}/" for name, address in started.items()} | own
    token = secrets.token_hex(32)

    _set_services(c, started, urls, token, path, lambda name: database_url or _sqlite(folder, name))
    roles.set_roles(c, set(started), HUB_SERVICE)
    _set_hub(c, base, parsed)
    _set_authenticator(c, parsed, urls, token)
    _set_spawner(c, parsed, urls, token, folder)
    return parsed


def _set_services(
    c: Any,
    started: Mapping[str, str],
    urls: Mapping[str, str],
    token: str,
    settings: Path,
    database_url: Callable[[str], str],
) -> None:
    entries: list[dict[str, Any]] = [{"name": HUB_SERVICE, "api_token": token, "display": False}]
    for name, address in started.items():
        entry: dict[str, Any] = {
            "name": name,
            "url": address,
            "command": [sys.executable, "-m", f"jupyterhub_daas.services.{name}"],
            "environment": {
                SETTINGS_VARIABLE: str(settings),
                DATABASE_VARIABLE: database_url(name),
                URLS_VARIABLE: json.dumps(dict(urls)),
                PARENT_VARIABLE: str(os.getpid()),
            },
            "oauth_no_confirm": True,
            "display": False,
        }
        if name == "portal":
            entry["oauth_client_allowed_scopes"] = roles.portal_scopes(started)
        entries.append(entry)
    c.JupyterHub.services = [*c.JupyterHub.get("services", []), *entries]


def _set_hub(c: Any, base: str, settings: Settings) -> None:
    portal = f"{base}services/portal/"

    def arrival(handler: Any) -> str:
        return portal + "proposals" if handler.current_user else portal

    hub = c.JupyterHub
    hub.default_url = arrival
    hub.allow_named_servers = True
    hub.redirect_to_server = False
    hub.db_kwargs = {"pool_events": [(_write_ahead, "connect")], **hub.get("db_kwargs", {})}
    # A refusal is known within a second or two and shown at once; what takes longer is shown as progress.
    hub.tornado_settings = {**hub.get("tornado_settings", {}), "slow_spawn_timeout": 3}
    # A start that does not fit is refused by quotas; nobody is to meet the hub's own 429.
    hub.concurrent_spawn_limit = 0
    # A session that waits for its place on a cluster does so beside a hub that works.
    hub.init_spawners_timeout = 10
    # Asked before the hub makes a row for a session: names that are not ours leave none.
    hub.named_server_limit_per_user = SessionGate(settings.catalogue)
    hub.template_paths = [*hub.get("template_paths", []), str(files("jupyterhub_daas") / "templates")]
    hub.template_vars = {
        **hub.get("template_vars", {}),
        "daas": Look.for_hub(settings, base),
    }


def _write_ahead(connection: object, _record: object) -> None:
    """Have the hub's own database, if it is an SQLite file, commit with one wait for the disk, not several.

    The hub commits on its event loop, twice or thrice in one step of a start.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode=WAL")
        # What a killed hub left beside the file gets into it: JupyterHub copies it alone before an upgrade.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _set_authenticator(c: Any, settings: Settings, urls: Mapping[str, str], token: str) -> None:
    c.JupyterHub.authenticator_class = "jupyterhub_daas.authenticators.DaasAuthenticator"
    authenticator = c.DaasAuthenticator
    authenticator.service_urls = dict(urls)
    authenticator.service_token = token
    authenticator.entitlements = list(settings.identities.entitlements)
    authenticator.hub_handlers = "jupyterhub_daas.hub_handlers"


def _set_spawner(c: Any, settings: Settings, urls: Mapping[str, str], token: str, folder: Path) -> None:
    c.JupyterHub.spawner_class = "jupyterhub_daas.spawners.DaasSpawner"
    spawner = c.DaasSpawner
    spawner.settings = settings
    spawner.service_urls = dict(urls)
    spawner.service_token = token
    spawner.hub_id = _kept(folder / "hub-id", lambda: secrets.token_hex(4))
    spawner.state_folder = str(folder)
    if "JUPYTERHUB_CRYPT_KEY" not in os.environ:
        c.CryptKeeper.keys = [_kept(folder / "crypt-key", lambda: secrets.token_hex(32))]


def _private_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}", field="state") from None
    return folder.resolve()


def _kept(path: Path, make: Callable[[], str]) -> str:
    """Return what a private file holds; make it at first use."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(make())
    except FileExistsError:
        pass
    return path.read_text().strip()


def _sqlite(folder: Path, name: str) -> str:
    return f"sqlite:///{folder / name}.sqlite"


def _free_addresses(names: Sequence[str]) -> dict[str, str]:
    """Return an address for each service that stays free for it.

    A port that is bound is given to nobody else, and our services may share it. Without that, one that
    another program takes before its service has come up would be tried for ever.
    """
    for former in _HELD:
        former.close()
    _HELD[:] = [_bound() for _ in names]
    ports = [held.getsockname()[1] for held in _HELD]
    return {name: f"http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}


def _bound() -> socket.socket:
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    atexit.register(held.close)
    return held
