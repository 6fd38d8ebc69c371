"""What has been started calls the hub: no cookie and no token of the hub counts there, only its own proof.

A caller that is not expected, and one with a foreign proof, get the same answer.
"""

import json
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from pydantic import ValidationError

from jupyterhub_daas.errors import (
    AccessError,
    BackendUnavailableError,
    ConflictError,
    DaasError,
    NotFoundError,
)

MAX_BODY = 512
STATUS: dict[type[DaasError], int] = {
    AccessError: 403,
    NotFoundError: 403,
    ConflictError: 409,
    BackendUnavailableError: 503,
}


class CallHandler(BaseHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """Answer POST with a body of one small JSON object; what is said is the subclass's."""

    scheme = ""

    def check_xsrf_cookie(self) -> None:
        """Check nothing: no browser and no cookie has a right here."""

    def get_current_user(self) -> None:
        """Know nobody: what counts is the proof."""

    async def prepare(self) -> None:
        """Keep the hub from looking for a login."""

    async def answer_to(self, session_id: str, what: str, proof: str, body: bytes) -> dict[str, Any]:
        """Return the answer to a call; raise DaasError or ValidationError to refuse it."""
        raise NotImplementedError

    async def post(self, session_id: str, what: str) -> None:
        """Answer a call."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        header = self.request.headers.get("Authorization", "")
        proof = header[len(self.scheme) :] if header.startswith(self.scheme) else ""
        try:
            answer = await self.answer_to(session_id, what, proof, self.request.body[: MAX_BODY + 1])
        except ValidationError:
            self._say(400, "The body does not have the right form.")
        except DaasError as error:
            self.log.warning("Refused a call for session %s: %s", session_id, error.message)
            self._say(STATUS.get(type(error), 400), error.message)
        else:
            self.write(json.dumps(answer))

    def _say(self, status: int, message: str) -> None:
        self.set_status(status)
        self.write(json.dumps({"error": {"message": message}}))
