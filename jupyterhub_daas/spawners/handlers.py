"""What lifecycle asks of the hub: its sessions against what the backends have, and to warn people.

Whatever carries this hub's tag and belongs to no session of it is removed. A session that is under way, that
is stopping, or that cannot be understood is never touched.
"""

from collections.abc import Iterator, Set
from datetime import datetime, timezone
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from pydantic import ValidationError
from tornado import web
from traitlets.config import Config

from jupyterhub_daas.core.names import SESSION_ID, matches
from jupyterhub_daas.core.reconciliation import HubReport, LiveSession, SessionState, SessionWarnings
from jupyterhub_daas.errors import BackendUnavailableError
from jupyterhub_daas.spawners.backends.machines import BankedProfile
from jupyterhub_daas.spawners.bank import BankRounds
from jupyterhub_daas.spawners.daas import DaasSpawner, deployment_in

SCOPE = "custom:daas:sessions:reconcile"
BANK = "daas_bank"
_STATES = {"spawn": SessionState.STARTING, "stop": SessionState.STOPPING}


class ReconcileHandler(APIHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """POST /hub/daas/reconcile."""

    async def post(self) -> None:
        """Remove things without a session; answer with the sessions."""
        # The hub knows custom scopes only after its decorators were evaluated.
        if SCOPE not in self.expanded_scopes:
            raise web.HTTPError(403)
        keep_bank(self.users)
        removed, unknown = await remove_orphans(self.users, self.log)
        sessions = tuple(live_sessions(self.users))
        report = HubReport(sessions=sessions, removed=tuple(removed), unknown=tuple(unknown))
        self.set_header("Content-Type", "application/json")
        self.write(report.model_dump_json())


class WarningsHandler(APIHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """POST /hub/daas/warnings."""

    async def post(self) -> None:
        """Show these warnings on the sessions' cards, and no others."""
        if SCOPE not in self.expanded_scopes:
            raise web.HTTPError(403)
        try:
            warnings = SessionWarnings.model_validate_json(self.request.body)
        except ValidationError:
            raise web.HTTPError(400) from None
        by_id = {each.session_id: each for each in warnings.items}
        for spawner in _spawners(self.users):
            spawner.warning = by_id.get(spawner.record.session_id)
        self.set_status(204)


HANDLERS = [(r"/daas/reconcile", ReconcileHandler), (r"/daas/warnings", WarningsHandler)]


def check_configuration(config: Config) -> None:
    """Raise ConfigurationError unless the spawner's whole configuration fits: asked when the hub starts."""
    DaasSpawner(config=config).build_deployment()


def keep_bank(users: Any) -> None:
    """Begin the rounds of the bank, once in the hub's life and only where there is one."""
    deployment = deployment_in(users.settings)
    if deployment.bank is None or BANK in users.settings:
        return
    catalogue = deployment.catalogue
    chosen = [catalogue.profiles[key] for key in deployment.settings.bank]
    profiles = {each.key: BankedProfile(each, catalogue.flavours[each.default_flavour]) for each in chosen}
    rounds = BankRounds(
        hub_id=deployment.hub_id, bank=deployment.bank, secret=bytes(users.settings["cookie_secret"])
    )
    rounds.begin(deployment.backends, profiles, lambda: [each.record.session_id for each in _spawners(users)])
    users.settings[BANK] = rounds


async def remove_orphans(users: Any, log: Any) -> tuple[list[str], list[str]]:
    """Remove the backends' things that belong to no session of this hub; return their session ids.

    Return, too, the backends of which it is not known whether they still have any.
    """
    removed, unknown = [], []
    for key, backend in deployment_in(users.settings).backends.items():
        try:
            things = await backend.things()
            # Looked through once for all: most rounds find nothing, however many sessions there are.
            for session_id in sorted(_without_a_session(things, users)):
                # And again after each await: a session may have begun while something was removed.
                if not _without_a_session({session_id}, users):
                    continue
                log.warning("Removing what is left of session %s from backend %s", session_id, key)
                await backend.remove(session_id)
                removed.append(session_id)
        except BackendUnavailableError as error:
            unknown.append(key)
            log.warning("Backend %s cannot be reconciled now: %s", key, error.message)
        except Exception:
            unknown.append(key)
            # One backend that does not answer must not keep the others from being looked at.
            log.exception("Backend %s cannot be reconciled", key)
    return removed, unknown


def _without_a_session(things: Set[str], users: Any) -> Set[str]:
    records = [spawner.record for spawner in _spawners(users)]
    if not all(record.understood for record in records):
        return frozenset()
    return things - {record.session_id for record in records}


def live_sessions(users: Any) -> Iterator[LiveSession]:
    """Return the hub's sessions that hold, or are about to hold, something."""
    for spawner in _spawners(users):
        if not matches(SESSION_ID, spawner.record.session_id):
            continue
        yield LiveSession(
            person=spawner.user.name,
            name=spawner.name,
            session_id=spawner.record.session_id,
            state=_STATES.get(spawner.pending, SessionState.RUNNING),
            started=_moment(spawner.orm_spawner.started),
            last_activity=_moment(spawner.orm_spawner.last_activity),
            stops_at=_stops_at(spawner),
        )


def _stops_at(spawner: DaasSpawner) -> datetime | None:
    backend = spawner.deployment.backends.get(spawner.record.backend)
    return None if backend is None else backend.stops_at(spawner.record.session_id)


def _spawners(users: Any) -> Iterator[DaasSpawner]:
    for user in list(users.values()):
        for spawner in list(user.spawners.values()):
            if isinstance(spawner, DaasSpawner) and (spawner.active or spawner.record.running):
                yield spawner


def _moment(value: datetime | None) -> datetime | None:
    # The hub stores UTC without saying so.
    return None if value is None else value.replace(tzinfo=timezone.utc)
