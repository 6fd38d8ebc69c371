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
from jupyterhub_daas.spawners.backends.machines.backend import MachineBackend
from jupyterhub_daas.spawners.backends.machines.bootstrap import (
    NO_MACHINE,
    Bootstrap,
    EndCall,
    MisuseError,
)
from jupyterhub_daas.spawners.backends.machines.user_data import is_loopback
from jupyterhub_daas.spawners.backends.ticket import LaunchCall, PortCall
from jupyterhub_daas.spawners.daas import deployment_in


class MachineHandler(CallHandler):
    """POST /hub/daas/machines/<session id>/session, /ready or /ended."""

    scheme = "DaaS-Machine "

    def answer_to(self, session_id: str, what: str, proof: str, body: bytes) -> dict[str, Any]:
        """Answer a machine."""
        address, encrypted = origin_of(self.request)
        if not encrypted and not is_loopback(address):
            raise AccessError("Machines are answered over TLS only.")
        bootstrap = self._find(session_id)
        try:
            if what == "session":
                return bootstrap.redeem(proof, LaunchCall.model_validate_json(body).secret, address)
            if what == "ready":
                bootstrap.report(proof, PortCall.model_validate_json(body).port, address)
            else:
                bootstrap.end(proof, EndCall.model_validate_json(body), address)
        except MisuseError as error:
            if error.fresh:
                self._raise_alarm(bootstrap, error, address)
            raise AccessError(str(error)) from error
        return {}

    def _find(self, session_id: str) -> Bootstrap:
        for backend in deployment_in(self.users.settings).backends.values():
            if isinstance(backend, MachineBackend) and session_id in backend.bootstraps:
                return backend.bootstraps[session_id]
        raise NotFoundError(NO_MACHINE)

    def _raise_alarm(self, bootstrap: Bootstrap, error: MisuseError, address: str) -> None:
        self.log.error(
            "ALARM: session %s of %s: %s, from %s",
            bootstrap.session_id,
            bootstrap.person,
            error.misuse.value,
            address,
        )
        event = AuditEvent(
            time=datetime.now(timezone.utc),
            actor=Actor(kind=ActorKind.UNKNOWN, name=shown(address, 64) or "-"),
            on_behalf_of=bootstrap.person if matches(USERNAME, bootstrap.person) else None,
            action=AuditAction.ALARM,
            object=AuditObject(kind=ObjectKind.SESSION, key=shown(bootstrap.name, 64) or "-"),
            outcome=AuditOutcome.REFUSED,
            reason=error.misuse.value,
            request_id=bootstrap.session_id,
        )
        deployment_in(self.users.settings).audit.record(event)


HANDLERS = [(r"/daas/machines/([0-9a-f]{16})/(session|ready|ended)", MachineHandler)]
