"""Where a session's job speaks to the hub: it fetches its launch, and reports one port.

No cookie and no token of the hub counts here, only the job's own ticket; a job that is not expected, and one
with a foreign secret, get the same answer.
"""

import json
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from pydantic import ValidationError

from jupyterhub_daas.errors import ConflictError, DaasError, NotFoundError
from jupyterhub_daas.spawners.backends.batch.backend import BatchBackend
from jupyterhub_daas.spawners.backends.batch.session import BatchSession
from jupyterhub_daas.spawners.backends.batch.ticket import LaunchCall, PortCall
from jupyterhub_daas.spawners.daas import deployment_in

SCHEME = "DaaS-Job "
MAX_BODY = 512
STATUS = {NotFoundError: 403, ConflictError: 409}


class JobHandler(BaseHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """POST /hub/daas/jobs/<session id>/launch or /port."""

    def check_xsrf_cookie(self) -> None:
        """Check nothing: no browser and no cookie has a right here."""

    def get_current_user(self) -> None:
        """Know nobody: what counts is the ticket."""

    async def prepare(self) -> None:
        """Keep the hub from looking for a login."""

    async def post(self, session_id: str, what: str) -> None:
        """Answer a job."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        try:
            answer = self._answer(session_id, what)
        except ValidationError:
            self._say(400, "The body does not have the right form.")
        except DaasError as error:
            self.log.warning("Refused a job of session %s: %s", session_id, error.message)
            self._say(STATUS.get(type(error), 400), error.message)
        else:
            self.write(json.dumps(answer))

    def _answer(self, session_id: str, what: str) -> dict[str, Any]:
        header = self.request.headers.get("Authorization", "")
        proof = header[len(SCHEME) :] if header.startswith(SCHEME) else ""
        body = self.request.body[: MAX_BODY + 1]
        session = self._find(session_id)
        if what == "launch":
            return session.redeem(proof, LaunchCall.model_validate_json(body).secret)
        session.report(proof, PortCall.model_validate_json(body).port)
        return {}

    def _find(self, session_id: str) -> BatchSession:
        for backend in deployment_in(self.users.settings).backends.values():
            if isinstance(backend, BatchBackend) and session_id in backend.sessions:
                found: BatchSession = backend.sessions[session_id]
                return found
        raise NotFoundError("There is no such job.")

    def _say(self, status: int, message: str) -> None:
        self.set_status(status)
        self.write(json.dumps({"error": {"message": message}}))


HANDLERS = [(r"/daas/jobs/([0-9a-f]{16})/(launch|port)", JobHandler)]
