"""Ask again whether somebody who signed in may still be here.

The order is: our gate, then the provider. A refusal by either ends the login; an outage of either keeps it,
for as long as the grace lasts since the gate last admitted the person. One refresh runs per person at a
time, because a provider that rotates refresh tokens takes a second use of one for a theft.
"""

import asyncio
import time
from collections.abc import Mapping
from logging import Logger
from typing import Any, NamedTuple

from jupyterhub_daas.authenticators.accounts.settings import Accounts
from jupyterhub_daas.authenticators.entry import KeptLogin, model_of, standing_of
from jupyterhub_daas.authenticators.gate import Admission, Gate
from jupyterhub_daas.authenticators.openid import GRANT_ENDED, OpenIDProvider, SignIn
from jupyterhub_daas.errors import (
    AccessError,
    AccountUnknownError,
    DaasError,
    UpstreamError,
)


class _Verdict(NamedTuple):
    """The hub's answer; `tokens_only` means that a browser has to sign in again."""

    answer: bool | dict[str, Any]
    tokens_only: bool = False


_ENDED = _Verdict(False)


class Refresher:
    """Refresh logins, each person's one at a time."""

    def __init__(
        self,
        *,
        gate: Gate,
        providers: Mapping[str, OpenIDProvider],
        sources: Mapping[str, Accounts],
        grace: float,
        log: Logger,
    ) -> None:
        self._gate = gate
        self._providers = providers
        self._sources = {each.source.issuer: each for each in sources.values()}
        self._grace = grace
        self._log = log
        self._running: dict[str, asyncio.Task[_Verdict]] = {}

    async def refresh(self, user: Any, handler: Any) -> bool | dict[str, Any]:
        """Return what JupyterHub's `refresh_user` returns."""
        name = user.name
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.ensure_future(self._refresh(user))
            task.add_done_callback(lambda _: self._running.pop(name, None))
        verdict = await asyncio.shield(task)
        if verdict.tokens_only and not _by_token(user, handler):
            return False
        return dict(verdict.answer) if isinstance(verdict.answer, dict) else verdict.answer

    async def _refresh(self, user: Any) -> _Verdict:
        kept = KeptLogin.parse(await user.get_auth_state())
        try:
            if kept is None:
                admission = await self._gate.resolve_username(user.name)
                return _Verdict(standing_of(admission), tokens_only=True)
            return await self._ask(user, kept)
        except UpstreamError as error:
            return self._outage(user, kept, error)
        except AccessError as error:
            self._log_end(user, error)
            return _ENDED

    async def _ask(self, user: Any, kept: KeptLogin) -> _Verdict:
        if kept.refused:
            return _ENDED
        admission = await self._admission(kept)
        if admission.person.username != user.name:
            # The identity belongs to somebody else now; the hub would answer 500 to another name.
            raise AccountUnknownError("The identity is linked to another person now.")
        admitted = kept.model_copy(update={"admitted_at": time.time()})
        if kept.signed_out or not kept.provider:
            return _Verdict(model_of(admission, admitted), tokens_only=kept.signed_out)
        try:
            answer = await self._ask_provider(kept)
        except AccessError as error:
            return await self._refused_by_provider(user, kept, admission, error)
        except UpstreamError as error:
            outage = self._outage(user, kept, error)
            return outage if outage is _ENDED else _Verdict(model_of(admission, kept))
        admitted = admitted.model_copy(update={"tokens": answer.tokens})
        if answer.tokens != kept.tokens:
            # Before the next refresh may begin: it has to find the rotated refresh token.
            await user.save_auth_state(admitted.dump())
        if not answer.claims:  # the provider vouches for the person, and says nothing more
            return _Verdict(model_of(admission, admitted))
        given = await self._gate.entitle(user.name, kept.identity, answer.claims)
        if given.changed:
            # What she may do has changed, and so perhaps whether she may be here at all.
            admission = await self._admission(kept)
        return _Verdict(model_of(admission, admitted.model_copy(update={"entitled_groups": given.groups})))

    async def _admission(self, kept: KeptLogin) -> Admission:
        if kept.provider:
            if kept.provider not in self._providers:
                raise AccountUnknownError("The provider is no longer offered here.")
            return await self._gate.resolve(kept.identity)
        accounts = self._sources.get(kept.identity.issuer)
        if accounts is None:
            raise AccountUnknownError("The accounts are no longer offered here.")
        if not await accounts.source.exists(kept.identity.subject):
            raise AccountUnknownError("The account is gone.")
        names_person = accounts.settings.person == "username"
        return await self._gate.resolve(kept.identity, facility_account=names_person)

    async def _ask_provider(self, kept: KeptLogin) -> SignIn:
        answer = await self._providers[kept.provider].ask_again(kept.identity.subject, kept.tokens)
        self._gate.check_denied(answer.claims)
        return answer

    async def _refused_by_provider(
        self, user: Any, kept: KeptLogin, admission: Admission, error: AccessError
    ) -> _Verdict:
        if error.details.get("cause") in GRANT_ENDED and self._within_grace(kept):
            # A provider's grant ends overnight too. A browser signs in again; the tokens with which running
            # sessions report go on for the grace, by the gate alone: the person's work must not look idle.
            self._log_end(user, error)
            return _Verdict(model_of(admission, kept), tokens_only=True)
        # Remembered: at the next refresh the provider may only say that the grant is over.
        await user.save_auth_state(kept.model_copy(update={"refused": True}).dump())
        raise error

    def _within_grace(self, kept: KeptLogin) -> bool:
        return time.time() - kept.admitted_at <= self._grace

    def _outage(self, user: Any, kept: KeptLogin | None, error: UpstreamError) -> _Verdict:
        within = kept is not None and self._within_grace(kept)
        self._log.warning(
            "Refresh not possible: person=%s service=%s kept=%s",
            user.name,
            error.details.get("service"),
            within,
        )
        if kept is None or not within:
            return _ENDED
        return _Verdict(True, tokens_only=kept.signed_out)

    def _log_end(self, user: Any, error: DaasError) -> None:
        self._log.warning(
            "Login ended at refresh: person=%s code=%s cause=%s",
            user.name,
            error.code,
            error.details.get("cause", "-"),
        )


def _by_token(user: Any, handler: Any) -> bool:
    """Tell whether the request has a token or is somebody else's: nobody can be sent to the login then."""
    if handler is None or getattr(handler, "_token_authenticated", False):
        return True
    return getattr(handler, "_jupyterhub_user", None) is not user
