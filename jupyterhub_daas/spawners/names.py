"""The gate that the hub asks before it makes a row for a session.

JupyterHub calls `named_server_limit_per_user` on every way to a named server, before anything is stored: it
is the one place where a name that is not ours, or options that cannot be meant, leave nothing behind.
"""

from collections.abc import Callable
from typing import Any

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.core.names import is_session_name
from jupyterhub_daas.core.selection import Selection
from jupyterhub_daas.errors import DaasError, NotOurNameError
from jupyterhub_daas.spawners.refusals import Refusal

MOST_SESSIONS = 100
ADVICE = "Start sessions from the proposals page: press Jupyter or Desktop on a proposal."


def check_name(name: str) -> None:
    """Raise unless this is a name that the portal could have chosen."""
    if not name:
        raise NotOurNameError(f"There is no session without a name here. {ADVICE}")
    if not is_session_name(name):
        raise NotOurNameError(f"The names of sessions are chosen by the portal. {ADVICE}")


def session_gate(catalogue: Catalogue, most: int = MOST_SESSIONS) -> Callable[[Any], int]:
    """Return what `JupyterHub.named_server_limit_per_user` takes: how many sessions a person may keep."""

    def gate(handler: Any) -> int:
        # (person, session) in all routes to a named server; other pages only show the number.
        arguments = handler.path_args
        if len(arguments) > 1 and arguments[1]:
            try:
                check_name(arguments[1])
                if handler.request.method == "PUT":
                    _check_options(handler.get_server_json_body(), catalogue)
            except DaasError as error:
                raise Refusal(error) from None
        return most

    return gate


def _check_options(body: dict[str, Any], catalogue: Catalogue) -> None:
    # A PUT stores options for later, and nothing would look at them before that.
    if body.get("user_options"):
        Selection.parse(body["user_options"], catalogue)
