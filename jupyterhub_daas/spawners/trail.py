"""What the audit trail is told of one session: its start and end, the data it had, and why it did not start.

All of this is told by the way: nothing here waits, and nothing here can fail a start.
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
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.names import IDENTIFIER, SESSION_ID, USERNAME, matches
from jupyterhub_daas.core.proposals import MemberRole
from jupyterhub_daas.core.selection import Selection
from jupyterhub_daas.errors import BackendError, DaasError, UpstreamError

HUB = Actor(kind=ActorKind.SERVICE, name="daas-hub")


class SessionTrail:
    """Tell of one front spawner's sessions, one after the other."""

    def __init__(self, spawner: Any) -> None:
        self._spawner = spawner
        self._actor = HUB
        self._selection: Selection | None = None
        self._launch: Launch | None = None
        self._role = MemberRole.MEMBER
        # None: nothing was started by this hub process, but one before it may have.
        self._up: bool | None = None

    def begin(self) -> None:
        """Note who asks for a start."""
        self._actor = _asking(self._spawner)
        self._selection, self._launch, self._up = None, None, False

    def selected(self, selection: Selection) -> None:
        """Note what is asked for."""
        self._selection = selection

    def admitted(self, launch: Launch, role: MemberRole) -> None:
        """Note what may start, and what the person is on the proposal."""
        self._launch, self._role = launch, role

    def started(self) -> None:
        """Tell that the session is up, and which data it has."""
        self._up = True
        selection, launch = self._selection, self._launch
        if selection is None or launch is None:
            return
        chosen = {"environment": selection.environment, "flavour": selection.flavour}
        self._tell(AuditAction.START, self._actor, details={**chosen, "backend": selection.backend})
        if launch.mounts:
            folders = ", ".join(f"{mount.target} ({mount.mode.value})" for mount in launch.mounts)
            details = {"folders": shown(folders), "role": self._role.value}
            self._tell(AuditAction.DATA_ACCESS, self._actor, details=details)

    def refused(self, error: DaasError) -> None:
        """Tell why the session did not start."""
        fault = isinstance(error, (BackendError, UpstreamError))
        outcome = AuditOutcome.FAILED if fault else AuditOutcome.REFUSED
        self._tell(AuditAction.START, self._actor, outcome=outcome, reason=error.code)

    def stopped(self) -> None:
        """Tell that the session ended, if it was up."""
        if self._up or (self._up is None and self._spawner.record.ran):
            self._tell(AuditAction.STOP, HUB)
        self._up = False

    def _tell(
        self,
        action: AuditAction,
        actor: Actor,
        *,
        outcome: AuditOutcome = AuditOutcome.DONE,
        reason: str | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        spawner, selection, launch = self._spawner, self._selection, self._launch
        # What a hub before this one started is known by its record, which may hold anything.
        former = spawner.record if self._up is None else None
        proposal = selection.proposal if selection else former and former.proposal
        session_id = launch.session_id if launch else former and former.session_id
        person = spawner.user.name if matches(USERNAME, spawner.user.name) else None
        event = AuditEvent(
            time=datetime.now(timezone.utc),
            actor=actor,
            on_behalf_of=None if (actor.kind, actor.name) == (ActorKind.PERSON, person) else person,
            action=action,
            object=AuditObject(kind=ObjectKind.SESSION, key=shown(spawner.name, 64) or "-"),
            outcome=outcome,
            reason=reason,
            proposal=proposal if matches(IDENTIFIER, proposal) else None,
            # One start and all that comes of it.
            request_id=session_id if matches(SESSION_ID, session_id) else None,
            details=details or {},
        )
        spawner.deployment.audit.record(event)


def _asking(spawner: Any) -> Actor:
    try:
        asking = spawner.handler.current_user
        kind = ActorKind.SERVICE if asking.kind == "service" else ActorKind.PERSON
        return Actor(kind=kind, name=shown(asking.name, 255))
    except (AttributeError, RuntimeError, ValueError):
        # The hub itself, for instance when it starts again what was running.
        return HUB
