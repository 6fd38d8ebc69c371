"""Where a session's job speaks to the hub: it fetches its launch, and reports one port."""

from typing import Any

from jupyterhub_daas.errors import NotFoundError
from jupyterhub_daas.spawners.backends.batch.backend import BatchBackend
from jupyterhub_daas.spawners.backends.batch.session import BatchSession
from jupyterhub_daas.spawners.backends.calls import CallHandler
from jupyterhub_daas.spawners.backends.ticket import LaunchCall, PortCall
from jupyterhub_daas.spawners.daas import deployment_in


class JobHandler(CallHandler):
    """POST /hub/daas/jobs/<session id>/launch or /port."""

    scheme = "DaaS-Job "

    async def answer_to(self, session_id: str, what: str, proof: str, body: bytes) -> dict[str, Any]:
        """Answer a job."""
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


HANDLERS = [(r"/daas/jobs/([0-9a-f]{16})/(launch|port)", JobHandler)]
