"""What the audit trail is told of sign-ins.

Told by the way: nothing here waits, and nothing here can fail a login. What somebody typed as a name is not
kept: it may be a password.
"""

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from jupyterhub.user import User

from jupyterhub_daas.clients.recorder import AuditRecorder
from jupyterhub_daas.core.audit import (
    MAX_KEY,
    MAX_NAME,
    Actor,
    ActorKind,
    AuditAction,
    AuditEvent,
    AuditObject,
    AuditOutcome,
    ObjectKind,
    request_id_of,
    shown,
)
from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import DaasError, UpstreamError

# Anybody can be refused as often as she likes: beyond this, refusals are counted and not told one by one.
MOST_REFUSALS = 100
WINDOW_SECONDS = 60.0


class SignInTrail:
    """Tell of logins and denials."""

    def __init__(self, recorder: AuditRecorder, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._recorder = recorder
        self._clock = clock
        self._window, self._told, self._untold = clock(), 0, 0

    def login(self, username: str, identity: Identity, provider: str, handler: Any) -> None:
        """Tell that a person signed in, with which identity."""
        self._tell(
            handler,
            actor=Actor(kind=ActorKind.PERSON, name=username),
            action=AuditAction.LOGIN,
            object=_object(identity),
            details={"provider": shown(provider)} if provider else {},
        )

    def denial(
        self,
        error: DaasError,
        identity: Identity | None,
        provider: str,
        handler: Any,
        *,
        names_person: bool = False,
    ) -> None:
        """Tell that somebody was not let in, and why; `names_person` if the subject is a username."""
        if not self._has_room():
            self._untold += 1
            return
        details = {
            "cause": shown(str(error.details.get("cause") or error.details.get("service") or "")),
            "provider": shown(provider),
            "untold_before": str(self._untold) if self._untold else "",
        }
        self._untold = 0
        own = identity is not None and names_person and matches(USERNAME, identity.subject)
        self._tell(
            handler,
            actor=_stranger(identity),
            on_behalf_of=identity.subject if own and identity is not None else None,
            action=AuditAction.DENIAL,
            object=_object(identity),
            outcome=AuditOutcome.FAILED if isinstance(error, UpstreamError) else AuditOutcome.REFUSED,
            reason=error.code,
            details={name: text for name, text in details.items() if text},
        )

    def release(self, kind: str, key: str, by: Any, handler: Any) -> None:
        """Tell that staff, or a service, lifted a lock-out."""
        own = kind == "account" and matches(USERNAME, key)
        who = ActorKind.PERSON if isinstance(by, User) else ActorKind.SERVICE
        self._tell(
            handler,
            actor=Actor(kind=who, name=by.name),
            action=AuditAction.RELEASE,
            object=AuditObject(kind=ObjectKind.PERSON, key=key) if own else _object(None),
            # A name that nobody can have may be a password that slipped into the wrong field.
            details={"network": shown(key)} if kind == "network" else {},
        )

    def _has_room(self) -> bool:
        now = self._clock()
        if now - self._window >= WINDOW_SECONDS:
            self._window, self._told = now, 0
        self._told += 1
        return self._told <= MOST_REFUSALS

    def _tell(self, handler: Any, **given: Any) -> None:
        header = handler.request.headers.get("X-Request-Id")
        event = AuditEvent(time=datetime.now(timezone.utc), request_id=request_id_of(header), **given)
        self._recorder.record(event)


def _stranger(identity: Identity | None) -> Actor:
    if identity is None:
        return Actor(kind=ActorKind.UNKNOWN, name="unknown")
    return Actor(kind=ActorKind.IDENTITY, name=shown(f"{identity.subject} {identity.issuer}", MAX_NAME))


def _object(identity: Identity | None) -> AuditObject:
    if identity is None:
        return AuditObject(kind=ObjectKind.PORTAL, key="sign-in")
    return AuditObject(kind=ObjectKind.IDENTITY, key=shown(f"{identity.issuer} {identity.subject}", MAX_KEY))
