"""What the portal asks of the hub for a person: nothing of which she has nothing.

The portal can't know who comes, so it asks for all that its pages could use. The hub grants of it what the
person has, and warns of the rest: at each sign-in of everybody who is not staff, which would bury what should
be seen. So what she lacks is taken out of the request before the hub looks at it, and decides as ever.
"""

from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.auth import OAuthAuthorizeHandler
from tornado.httputil import url_concat

from jupyterhub_daas.roles import STAFF_PAGES


class AskedScopesHandler(OAuthAuthorizeHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """The hub's own authorization of a service for a person, asked for less."""

    def extract_oauth_params(self) -> tuple[Any, ...]:
        """Return the request; one that names no scopes then names those that can be granted."""
        uri, *rest = super().extract_oauth_params()
        lacking = set(STAFF_PAGES) - self.expanded_scopes
        known = self.db.query(orm.OAuthClient).filter_by(identifier=self.get_argument("client_id", ""))
        client = None if "scope" in self.request.arguments else known.first()
        asked = set(client.allowed_scopes) if client is not None else set()
        if self.request.method == "GET" and asked & lacking:
            uri = url_concat(uri, {"scope": " ".join(sorted(asked - lacking))})
        return (uri, *rest)


HANDLERS = [("/api/oauth2/authorize", AskedScopesHandler)]
