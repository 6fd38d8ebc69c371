"""The end of all logins of a person from whom an identity was taken, and the gate's question before its time.

JupyterHub knows one login cookie for all browsers of a person, and does not note by which login a token came
about. So all of her cookies and tokens end, whichever identity they came from; with the ones that she still
has she signs in again. Only the tokens with which running sessions report stay, if the sessions do.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from pydantic import ValidationError
from tornado import web

from jupyterhub_daas.authenticators.entry import KeptLogin
from jupyterhub_daas.core.links import LostIdentity
from jupyterhub_daas.core.people import Identity

SCOPE = "custom:daas:logins:end"
# A session's token is made right before the session; the database's moments may be rounded.
_ROUNDING = timedelta(seconds=1)


class AskAgainHandler(APIHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """POST /hub/daas/people/<name>/ask-again: for a block, which is not to wait for the next refresh."""

    async def post(self, name: str) -> None:
        """Forget when the gate was asked last: her next request asks it."""
        # The hub knows custom scopes only after its decorators were evaluated.
        if SCOPE not in self.expanded_scopes:
            raise web.HTTPError(403)
        user = self.find_user(name)
        if user is not None:
            user._auth_refreshed = None
        self.set_status(204)


class EndLoginsHandler(APIHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """POST /hub/daas/people/<name>/end-logins."""

    async def post(self, name: str) -> None:
        """End them; a name that never signed in has none."""
        # The hub knows custom scopes only after its decorators were evaluated.
        if SCOPE not in self.expanded_scopes:
            raise web.HTTPError(403)
        try:
            lost = LostIdentity.model_validate_json(self.request.body)
        except ValidationError:
            raise web.HTTPError(400) from None
        user = self.find_user(name)
        if user is not None:
            ended = await end_logins(
                user, Identity(issuer=lost.issuer, subject=lost.subject), keep_sessions=lost.keep_sessions
            )
            self.log.info("Ended the logins of %s: an identity was taken, %s tokens", name, ended)
        self.set_status(204)


async def end_logins(user: Any, identity: Identity, *, keep_sessions: bool) -> int:
    """End cookies and tokens of one of the hub's users, and return how many tokens there were."""
    kept = KeptLogin.parse(await user.get_auth_state())
    if kept is not None and kept.identity == identity:
        await user.save_auth_state(None)
    db = user.db
    spared = set(_of_sessions(user)) if keep_sessions else set()
    user.cookie_id = orm.new_token()
    # Nobody is to slip through on the strength of an earlier refresh.
    user._auth_refreshed = None
    tokens = [token for token in user.api_tokens if token not in spared]
    for token in tokens:
        db.delete(token)
    db.commit()
    return len(tokens)


def _of_sessions(user: Any) -> Iterator[Any]:
    for spawner in user.spawners.values():
        if not spawner.active:
            continue
        found = orm.APIToken.find(user.db, spawner.api_token) if spawner.api_token else None
        if found is None:
            # After a restart of the hub the token itself is not known any more.
            found = _made_for(user, spawner)
        if found is not None:
            yield found


def _made_for(user: Any, spawner: Any) -> Any:
    # Anybody can give a token of hers any note: only the last one before the session counts.
    started = spawner.orm_spawner.started
    if started is None or spawner.server is None:
        return None
    candidates = [
        token
        for token in user.api_tokens
        if token.note == f"Server at {spawner.server.base_url}" and token.created <= started + _ROUNDING
    ]
    return max(candidates, key=lambda token: token.created, default=None)
