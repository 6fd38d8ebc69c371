"""A local backend whose cancelled starts take as long as a test wants, like a job that is slow to end.

Named by the ``class`` option of a test's hub. While the file ``slow-<name>`` is in the hub's folder, the
cancelled start of that session goes on; the file ``cancelled-<name>`` then says that it was cancelled.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyterhub_daas.spawners.backends.local import LocalBackend
from jupyterhub_daas.spawners.backends.local.session import LocalSession
from tests.support.waiting import wait_for


class SlowSession(LocalSession):
    """Clean up a cancelled start slowly."""

    async def start(self) -> tuple[str, int]:
        """Start; when that is cancelled, stay until the test lets go."""
        folder = Path.cwd()
        try:
            return await super().start()
        except asyncio.CancelledError:
            (folder / f"cancelled-{self.name}").touch()
            await wait_for(lambda: not (folder / f"slow-{self.name}").exists(), 60)
            raise


class SlowBackend(LocalBackend):
    """Build such sessions."""

    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> SlowSession:
        """Build one."""
        return SlowSession(backend=self, session_id=session_id, **given)
