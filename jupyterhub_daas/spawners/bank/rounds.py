"""Begin a hub's rounds of the bank: one keeper for each backend of whose profiles it has machines."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from tornado.ioloop import PeriodicCallback

from jupyterhub_daas.clients.bank import BankClient
from jupyterhub_daas.errors import DaasError
from jupyterhub_daas.spawners.bank.keeper import BankKeeper, Cloud

log = logging.getLogger("jupyterhub_daas.spawners")

ROUND_SECONDS = 5.0


class BankRounds:
    """Keep the bank for as long as the hub's process lives."""

    def __init__(self, *, hub_id: str, bank: BankClient, secret: bytes) -> None:
        self._hub_id, self._bank = hub_id, bank
        # Nobody learns the hub's own secret from a code.
        self._key = hmac.new(secret, f"bank of {hub_id}".encode(), hashlib.sha256).digest()
        self._keepers: list[BankKeeper] = []
        self._timer = PeriodicCallback(self._round, ROUND_SECONDS * 1000)

    def begin(
        self,
        backends: Mapping[str, Any],
        profiles: Mapping[str, Any],
        sessions: Callable[[], Collection[str]],
    ) -> None:
        """Join the backends of these profiles, and begin; `sessions` returns the ids of those it knows."""
        for key in sorted({banked.profile.backend for banked in profiles.values()}):
            own = {name: banked for name, banked in profiles.items() if banked.profile.backend == key}
            build = partial(self._build, tuple(own), sessions)
            self._keepers.append(backends[key].join_bank(self._key, own, build))
        # A round that takes longer than the time between two is not overtaken by the next one.
        self._timer.start()

    def _build(
        self, profiles: tuple[str, ...], sessions: Callable[[], Collection[str]], cloud: Cloud
    ) -> BankKeeper:
        return BankKeeper(
            hub_id=self._hub_id, profiles=profiles, bank=self._bank, cloud=cloud, sessions=sessions
        )

    async def _round(self) -> None:
        # One cloud that is away does not keep the others waiting.
        await asyncio.gather(*(_try_round(keeper) for keeper in self._keepers))


async def _try_round(keeper: BankKeeper) -> None:
    try:
        await keeper.round()
    except DaasError as error:
        log.warning("A round of the bank is skipped, and tried again: %s", error.message)
    except Exception:
        log.exception("A round of the bank failed, and is tried again")
