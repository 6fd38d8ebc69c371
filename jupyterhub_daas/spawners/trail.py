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
from jupyterhub_daas.spawners.endings import actor_of, asked_for

# Why a session ended that was found to be gone.
BY_ITSELF = "ended_by_itself"
HUB = Actor(kind=ActorKind.SERVICE, name="daas-hub")


class SessionTrail:
    """Tell of one front spawner's sessions, one after the other."""

    def __init__(self, spawner: Any) -> None:
        self._spawner = spawner
        self._actor, self._session_id = HUB, ""
        self._selection: Selection | None = None
        self._launch: Launch | None = None
        self._role = MemberRole.MEMBER
        self._gone = False
        # None: nothing was started by this hub process, but one before it may have.
        self._up: bool | None = None

    def begin(self, session_id: str) -> None:
        """Note who asks for a start."""
        self._session_id = session_id
        self._actor = _asking(self._spawner)
        self._selection, self._launch, self._up, self._gone = None, None, False, False

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

    def gone(self) -> None:
        """Note that the session was found to have ended before anybody ended it."""
        self._gone = True

    def stopped(self) -> None:
        """Tell that the session ended, if it was up: by whom, and why."""
        if self._up or (self._up is None and self._spawner.record.ran):
            asked = None if self._gone else asked_for()
            reason = BY_ITSELF if self._gone else asked and asked.reason
            self._tell(AuditAction.STOP, asked.by if asked else HUB, reason=reason)
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
        spawner, selection = self._spawner, self._selection
        # What a hub before this one started is known by its record, which may hold anything.
        former = spawner.record if self._up is None else None
        proposal = selection.proposal if selection else former and former.proposal
        session_id = former.session_id if former else self._session_id
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
        return actor_of(spawner.handler.current_user)
    except (AttributeError, RuntimeError, ValueError):
        # The hub itself, for instance when it starts again what was running.
        return HUB
