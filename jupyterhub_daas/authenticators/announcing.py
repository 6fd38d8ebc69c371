"""Tell staff of requests for access, by the facility's own hook.

Accounts asks for it, again and again until it is done: a hook that fails or hangs loses no request. It runs
in a thread of its own, so that it stops neither the hub nor a sign-in.
"""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from pydantic import ValidationError
from tornado import web

from jupyterhub_daas.core.access_requests import AccessRequest

SCOPE = "custom:daas:requests:announce"
HOOK_SECONDS = 30.0

Hook = Callable[[AccessRequest], Any]


class Announcer:
    """Call the hook, one request at a time."""

    def __init__(self, hook: Hook | None, seconds: float = HOOK_SECONDS) -> None:
        self._hook, self._seconds = hook, seconds
        # One thread: a hook that never returns keeps later ones waiting, and nothing else.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="access-request-hook")

    async def announce(self, request: AccessRequest) -> None:
        """Call the hook; raise what it raises, or TimeoutError."""
        if self._hook is not None:
            await asyncio.wait_for(self._call(self._hook, request), self._seconds)

    async def _call(self, hook: Hook, request: AccessRequest) -> None:
        if inspect.iscoroutinefunction(hook):
            await hook(request)
            return
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, hook, request)


class AnnounceHandler(APIHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """POST /hub/daas/access-requests/announce."""

    async def post(self) -> None:
        """Have staff told of a request that came in or was answered."""
        # The hub knows custom scopes only after its decorators were evaluated.
        if SCOPE not in self.expanded_scopes:
            raise web.HTTPError(HTTPStatus.FORBIDDEN)
        try:
            request = AccessRequest.model_validate_json(self.request.body)
        except ValidationError:
            raise web.HTTPError(HTTPStatus.BAD_REQUEST) from None
        try:
            await self.authenticator.announcer.announce(request)
        except Exception:
            self.log.exception("access_request_hook failed: request=%s; it is tried again", request.id)
            raise web.HTTPError(HTTPStatus.SERVICE_UNAVAILABLE, "The hook failed.") from None
        self.set_status(HTTPStatus.NO_CONTENT)
