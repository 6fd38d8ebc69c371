"""The only place that touches the hub's own tables: named servers and their tokens.

The hub makes a row for a session before anybody has checked whether it may exist, and leaves it there when
the start is refused. A row of a session that never ran goes.
"""

from typing import Any

from jupyterhub.orm import APIToken
from jupyterhub.utils import url_path_join


def keep_state(spawner: Any, state: dict[str, Any]) -> None:
    """Store a session's state now: the hub itself does so only after the start."""
    spawner.orm_spawner.state = state
    session = spawner._deprecated_db_session
    if session is not None:
        session.commit()


def keep_options(spawner: Any, options: dict[str, Any]) -> None:
    """Store the options of a session in place of what somebody sent; the hub commits."""
    spawner.orm_spawner.user_options = options


def revoke_tokens(spawner: Any) -> None:
    """Delete the tokens of a session that is not there: a hub that starts anew forgets which they were.

    They are found by the note that the hub gives them.
    """
    row, session = spawner.orm_spawner, spawner._deprecated_db_session
    if session is None:
        return
    note = f"Server at {url_path_join(spawner.user.base_url, spawner.name, '/')}"
    for token in session.query(APIToken).filter_by(user_id=row.user_id, note=note):
        session.delete(token)
    session.commit()


def forget(spawner: Any) -> bool:
    """Delete the row of a session that is not there; the spawner object stays usable for its error page."""
    row, session = spawner.orm_spawner, spawner._deprecated_db_session
    if session is None or row not in session or not row.name or row.server is not None:
        return False
    if (row.state or {}).get("ran"):
        # Asked for a moment ago, it has been up meanwhile.
        return False
    # Once deleted, the row can load nothing any more: take all that the hub may still read.
    for attribute in ("id", "user", "name", "display_name", "state", "started", "last_activity"):
        getattr(row, attribute)
    row.user_options = {}
    row.oauth_client = None
    session.flush()
    revoke_tokens(spawner)
    session.delete(row)
    session.commit()
    return True
