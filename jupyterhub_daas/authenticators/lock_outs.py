"""Who has to wait after wrong passwords, and staff's release: a page, and the same over HTTP.

The counts live in the hub, so these are the hub's. Every release is told to the audit trail.
"""

import math
from typing import Any, NamedTuple

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers import BaseHandler
from tornado import web
from tornado.httputil import url_concat

from jupyterhub_daas.authenticators.attempts import Attempts

SCOPE = "custom:daas:lockouts:release"
KINDS = ("account", "network")


class LockOut(NamedTuple):
    """An account or a network that has to wait for so many seconds."""

    kind: str
    key: str
    seconds: int

    @property
    def minutes(self) -> int:
        """Return the minutes that are left, begun ones counted."""
        return math.ceil(self.seconds / 60)


def lock_outs(attempts: Attempts) -> list[LockOut]:
    """Return who has to wait, the longest wait first."""
    waits = {"account": attempts.per_account.waiting(), "network": attempts.per_address.waiting()}
    found = [
        LockOut(kind, key, math.ceil(wait)) for kind, each in waits.items() for key, wait in each.items()
    ]
    return sorted(found, key=lambda each: (-each.seconds, each.kind, each.key))


class _Releasing:
    """Who may release, and the release."""

    def check_scope(self: Any) -> None:
        """Refuse everybody but staff."""
        # The hub knows custom scopes only after its decorators were evaluated.
        if SCOPE not in self.expanded_scopes:
            raise web.HTTPError(403)

    @property
    def attempts(self: Any) -> Attempts:
        """Return the counts."""
        found: Attempts = self.authenticator.passwords.attempts
        return found

    def release(self: Any, kind: str, key: str) -> bool:
        """Release an account or a network; False if it has not to wait."""
        if (kind, key) not in {(each.kind, each.key) for each in lock_outs(self.attempts)}:
            return False
        limit = self.attempts.per_account if kind == "account" else self.attempts.per_address
        limit.release(key)
        by = self.current_user
        self.log.info("Lock-out released: kind=%s by=%s", kind, by.name)
        self.authenticator.trail.release(kind, key, by, self)
        return True


class LockOutsHandler(_Releasing, APIHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """GET and DELETE /hub/daas/lock-outs."""

    def get(self) -> None:
        """Answer with all lock-outs."""
        self.check_scope()
        self.finish({"items": [each._asdict() for each in lock_outs(self.attempts)]})

    def delete(self) -> None:
        """Release the one that the query names, by ``account`` or ``network``."""
        self.check_scope()
        named = [(kind, self.get_query_argument(kind, "")) for kind in KINDS]
        given = [(kind, key) for kind, key in named if key]
        if len(given) != 1:
            raise web.HTTPError(400, "Give either account or network.")
        if not self.release(*given[0]):
            raise web.HTTPError(404, "Nothing of that name has to wait.")
        self.set_status(204)


class LockOutsPage(_Releasing, BaseHandler):  # type: ignore[misc]
    """GET and POST /hub/lock-outs."""

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        self.check_scope()
        self.set_header("Cache-Control", "no-store")
        released = self.get_query_argument("released", "")
        self.finish(
            await self.render_template(
                "lock_outs.html",
                items=lock_outs(self.attempts),
                news=released if released in ("yes", "no") else "",
                xsrf=self.xsrf_token.decode("ascii"),
            )
        )

    @web.authenticated
    def post(self) -> None:
        """Release one."""
        self.check_scope()
        done = self.release(
            self.get_body_argument("kind", ""), self.get_body_argument("key", "", strip=False)
        )
        self.redirect(url_concat(self.request.path, {"released": "yes" if done else "no"}), status=303)


HANDLERS: list[tuple[str, type[Any]]] = [("/daas/lock-outs", LockOutsHandler), ("/lock-outs", LockOutsPage)]
