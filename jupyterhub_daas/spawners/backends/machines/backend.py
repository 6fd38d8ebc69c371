"""The part of the waist that backends of whole machines add to it."""

from collections.abc import Mapping
from typing import Any

from jupyterhub_daas.spawners.backends.base import Backend
from jupyterhub_daas.spawners.backends.machines.bootstrap import Bootstrap


class MachineBackend(Backend):
    """A backend whose machines call the hub for their sessions.

    `bootstraps` are those of the sessions that are looked after, by session id: whoever builds or restores a
    child puts its one here, and takes it away when the session is over.
    """

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self.bootstraps: dict[str, Bootstrap] = {}
