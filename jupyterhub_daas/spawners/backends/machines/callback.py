"""Where a machine speaks to the hub: it fetches its session, says where that listens, and how it ended.

What is asked for from another address, a second time or too late is an alarm in the audit trail.
"""

from datetime import datetime, timezone
from typing import Any

from jupyterhub_daas.core.audit import (
    Actor,
    ActorKind,
    AuditAction,
    AuditEvent,
    AuditObject,
    AuditOutcome,
    ObjectKind,
    shown,
)
from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.core.origins import origin_of
from jupyterhub_daas.errors import AccessError, NotFoundError
from jupyterhub_daas.spawners.backends.calls import CallHandler
from jupyterhub_daas.spawners.backends.machines.alarms import NO_MACHINE, MisuseError
from jupyterhub_daas.spawners.backends.machines.backend import MachineBackend
from jupyterhub_daas.spawners.backends.machines.bootstrap import Bootstrap, EndCall
from jupyterhub_daas.spawners.backends.machines.user_data import is_loopback
from jupyterhub_daas.spawners.backends.ticket import LaunchCall, PortCall
from jupyterhub_daas.spawners.daas import deployment_in
from jupyterhub_daas.spawners.handlers import keep_bank


class MachineHandler(CallHandler):
    """POST /hub/daas/machines/<session id>/session, /ready or /ended."""

    scheme = "DaaS-Machine "

    async def answer_to(self, session_id: str, what: str, proof: str, body: bytes) -> dict[str, Any]:
        """Answer a machine; one of the bank calls by its own id, and is held until it has a session."""
        address, encrypted = origin_of(self.request)
        if not encrypted and not is_loopback(address):
            raise AccessError("Machines are answered over TLS only.")
        backend = self._backend_of(session_id, proof)
        try:
            if what == "session":
                secret = LaunchCall.model_validate_json(body).secret
                return await _fetch(backend, session_id, proof, secret, address)
            if what == "ready":
                port = PortCall.model_validate_json(body).port
                _known(backend, session_id).report(proof, port, address)
            else:
                _known(backend, session_id).end(proof, EndCall.model_validate_json(body), address)
        except MisuseError as error:
            if error.fresh:
                bootstrap = backend.bootstraps.get(session_id)
                self._raise_alarm(session_id, bootstrap, error.misuse.value, address)
            raise AccessError(str(error)) from error
        return {}

    def _backend_of(self, session_id: str, proof: str) -> MachineBackend:
        # A machine that waited may be the first to call a hub that has started again.
        keep_bank(self.users)
        backends = deployment_in(self.users.settings).backends.values()
        for backend in (each for each in backends if isinstance(each, MachineBackend)):
            idle = backend.idle
            if session_id in backend.bootstraps or (idle and idle.may_know(session_id, proof)):
                return backend
        raise NotFoundError(NO_MACHINE)

    def _raise_alarm(self, called_as: str, bootstrap: Bootstrap | None, misuse: str, address: str) -> None:
        # A machine of the bank calls by its own id, and staff looks for the session.
        session_id = bootstrap.session_id if bootstrap else called_as
        person = bootstrap.person if bootstrap else ""
        name = bootstrap.name if bootstrap else f"machine {called_as}"
        self.log.error("ALARM: session %s of %s: %s, from %s", session_id, person or "-", misuse, address)
        event = AuditEvent(
            time=datetime.now(timezone.utc),
            actor=Actor(kind=ActorKind.UNKNOWN, name=shown(address, 64) or "-"),
            on_behalf_of=person if matches(USERNAME, person) else None,
            action=AuditAction.ALARM,
            object=AuditObject(kind=ObjectKind.SESSION, key=shown(name, 64) or "-"),
            outcome=AuditOutcome.REFUSED,
            reason=misuse,
            request_id=session_id,
        )
        deployment_in(self.users.settings).audit.record(event)


async def _fetch(
    backend: MachineBackend, session_id: str, code: str, secret: str, address: str
) -> dict[str, Any]:
    if backend.idle is not None and session_id not in backend.bootstraps:
        await backend.idle.hold(session_id, code, secret, address)
        if session_id not in backend.bootstraps:
            return {"wait": 0}
    return _known(backend, session_id).redeem(code, secret, address)


def _known(backend: MachineBackend, session_id: str) -> Bootstrap:
    bootstrap = backend.bootstraps.get(session_id)
    if bootstrap is None:
        raise NotFoundError(NO_MACHINE)
    return bootstrap


HANDLERS = [(r"/daas/machines/([0-9a-f]{16})/(session|ready|ended)", MachineHandler)]
