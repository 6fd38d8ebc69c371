"""What a person is entitled to: roles from *accounts*, groups from *proposals*, limits from the policy.

Only what the policy depends on is asked for. An answer is kept for ten seconds, a failure never: while a
service that is needed is away, nothing is granted.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from jupyterhub_daas.clients import AccountsClient, ProposalsClient
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.quota import Entitlement, QuotaPolicy, entitlement

KEPT_SECONDS = 10.0
MAX_KEPT = 10_000


class Entitlements:
    """Ask once per person and ten seconds, however many start at the same time."""

    def __init__(
        self,
        policy: QuotaPolicy,
        accounts: AccountsClient,
        proposals: ProposalsClient,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._policy = policy
        self._accounts = accounts
        self._proposals = proposals
        self._clock = clock
        self._kept: dict[str, tuple[float, asyncio.Future[Entitlement]]] = {}

    async def of(self, username: str) -> Entitlement:
        """Return what a person is entitled to, or raise UpstreamUnavailableError."""
        kept = self._kept.get(username)
        now = time.monotonic()
        if kept is None or kept[0] <= now or _failed(kept[1]):
            self._forget_old(now)
            # The time counts from the question, for the answer may be as old as that.
            kept = (now + KEPT_SECONDS, asyncio.ensure_future(self._ask(username)))
            self._kept[username] = kept
        # Shielded: the first caller may go away while others wait for the same answer.
        return await asyncio.shield(kept[1])

    def _forget_old(self, now: float) -> None:
        if len(self._kept) >= MAX_KEPT:
            self._kept = {name: kept for name, kept in self._kept.items() if kept[0] > now}

    async def _ask(self, username: str) -> Entitlement:
        roles, groups = await asyncio.gather(self._roles(username), self._groups(username))
        return entitlement(self._policy, username, roles=roles, groups=groups)

    async def _roles(self, username: str) -> frozenset[Role]:
        if not self._policy.roles and not self._policy.bypass.roles:
            return frozenset()
        standing = await self._accounts.standing(username)
        return standing.roles_now(self._clock())

    async def _groups(self, username: str) -> tuple[str, ...]:
        if not self._policy.groups:
            return ()
        return (await self._proposals.person(username)).groups


def _failed(future: asyncio.Future[Entitlement]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
