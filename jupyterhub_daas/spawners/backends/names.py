"""What a session's things are called outside of the hub: one session, one name, for ever.

The name is recorded before there is a thing, so that either side finds what the other lost.
"""

from jupyterhub_daas.core.names import SESSION_ID, matches


def thing_name(hub_id: str, session_id: str) -> str:
    """Return the name of a session's things."""
    return f"daas-{hub_id}-{session_id}"


def session_of(name: str, hub_id: str) -> str:
    """Return whose thing of this hub has a name; empty if it is none of ours."""
    prefix = thing_name(hub_id, "")
    rest = name[len(prefix) :]
    return rest if name.startswith(prefix) and matches(SESSION_ID, rest) else ""
