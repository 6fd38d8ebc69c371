"""The gate that the hub asks before it makes a row for a session.

JupyterHub calls `named_server_limit_per_user` on every way to a named server, before anything is stored: it
is the one place where a name that is not ours, or options that cannot be meant, leave nothing behind.
"""

from typing import Any
from weakref import WeakValueDictionary

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.core.names import is_session_name
from jupyterhub_daas.core.selection import Selection
from jupyterhub_daas.errors import ConflictError, DaasError, NotOurNameError
from jupyterhub_daas.spawners.refusals import Refusal

MOST_SESSIONS = 100
ADVICE = "Start sessions from the proposals page: press Jupyter or Desktop on a proposal."


def check_name(name: str) -> None:
    """Raise unless this is a name that the portal could have chosen."""
    if not name:
        raise NotOurNameError(f"There is no session without a name here. {ADVICE}")
    if not is_session_name(name):
        raise NotOurNameError(f"The names of sessions are chosen by the portal. {ADVICE}")


class SessionGate:
    """Answer the hub how many sessions a person may keep, or refuse the request on its way to a session.

    Between this question and its own note that a session starts, the hub asks others and waits; it answers a
    second start that comes meanwhile with a fault. Here that one is told that the session starts already.
    Whatever then becomes of the request: the row of a session that nothing is known of goes with its end.
    """

    def __init__(self, catalogue: Catalogue, most: int = MOST_SESSIONS) -> None:
        self._catalogue = catalogue
        self._most = most
        self._starting: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()

    def __call__(self, handler: Any) -> int:
        """Check a request of the hub's handlers."""
        # (person, session) in all routes to a named server; other pages only show the number.
        arguments = handler.path_args
        if len(arguments) > 1 and arguments[1]:
            try:
                check_name(arguments[1])
                if handler.request.method == "PUT":
                    self._check_options(handler.get_server_json_body())
                if _starts(handler):
                    self._claim(handler, arguments[0], arguments[1])
                if handler.request.method in ("GET", "POST"):
                    _tidy_at_the_end(handler, arguments[0], arguments[1])
            except DaasError as error:
                raise Refusal(error) from None
        return self._most

    def _check_options(self, body: dict[str, Any]) -> None:
        # A PUT stores options for later, and nothing would look at them before that.
        if body.get("user_options"):
            Selection.parse(body["user_options"], self._catalogue)

    def _claim(self, handler: Any, person: str, name: str) -> None:
        earlier = self._starting.get((person, name))
        spawner = _spawner(handler, person, name)
        is_pending = spawner is not None and spawner.pending is not None
        if earlier is not None and not earlier._finished and not is_pending:
            raise ConflictError("This session is being started already. Wait a moment, then enter it.")
        self._starting[person, name] = handler


def _starts(handler: Any) -> bool:
    # A link with options starts a session too.
    asked = {*handler.request.query_arguments} - {"next", "display_name"}
    return handler.request.method == "POST" or (handler.request.method == "GET" and bool(asked))


def _tidy_at_the_end(handler: Any, person: str, name: str) -> None:
    finish = handler.on_finish

    def on_finish() -> None:
        finish()
        forget = getattr(_spawner(handler, person, name), "forget_if_unused", None)
        if forget is not None:
            forget()

    handler.on_finish = on_finish


def _spawner(handler: Any, person: str, name: str) -> Any:
    user = handler.find_user(person)
    # Not by subscription, which would make a spawner.
    return None if user is None else user.spawners.get(name)
