"""The hub's roles and custom scopes: who may ask which service for what, in the least that each needs."""

from collections.abc import Collection
from typing import Any

from jupyterhub_daas.core.people import Role, group_of

SCOPES = {
    "custom:daas:people:read": "Read who a person of the facility is.",
    "custom:daas:proposals:read": "Read the proposals of everybody.",
    "custom:daas:quotas:read": "Read the quotas and reservations of everybody.",
    "custom:daas:quotas:override": "Change the quota of a person or a proposal.",
    "custom:daas:reservations:write": "Hold and release resources for sessions.",
    "custom:daas:bank:write": "Keep, claim and end the machines of the bank.",
    "custom:daas:usage:read": "Read the accounting of everybody.",
    "custom:daas:accounts:read": "Read the standing and roles of everybody.",
    "custom:daas:accounts:write": "Block people and grant roles.",
    "custom:daas:identities:write": "Link identities to people and take them away, with a reason.",
    "custom:daas:identities:prove": "Link, unlink and ask for access with what a person proved to be hers.",
    "custom:daas:roles:entitle": "Keep the roles that a person's entitlements give.",
    "custom:daas:requests:announce": "Have the hub tell staff of requests for access.",
    "custom:daas:logins:end": "End the logins and tokens of everybody.",
    "custom:daas:audit:read": "Read the whole audit trail.",
    "custom:daas:audit:write": "Add events to the audit trail.",
    "custom:daas:lockouts:release": "Lift what wrong passwords locked out.",
    "custom:daas:sessions:end": "End the sessions of everybody.",
    "custom:daas:sessions:reconcile": "Compare the hub's sessions with what runs.",
}

# What a person needs of the hub to start and end her own sessions through the portal.
OWN_SESSIONS = ("read:users:name!user", "read:servers!user", "start:servers!user", "delete:servers!user")

# What staff's pages of the portal need: to read the audit trail, to answer requests for access, and to know
# who may administer the hub.
STAFF_PAGES = (
    "custom:daas:audit:read",
    "custom:daas:identities:write",
    "custom:daas:accounts:write",
    "admin-ui",
)

STAFF_SCOPES: dict[Role, tuple[str, ...]] = {
    Role.ADMIN: (
        "custom:daas:people:read",
        "custom:daas:proposals:read",
        "custom:daas:quotas:read",
        "custom:daas:quotas:override",
        "custom:daas:usage:read",
        "custom:daas:accounts:read",
        "custom:daas:accounts:write",
        "custom:daas:identities:write",
        "custom:daas:audit:read",
        "custom:daas:lockouts:release",
        "custom:daas:sessions:end",
        "admin-ui",
        "list:users",
        "read:users",
        "read:hub",
        "read:servers",
        "delete:servers",
    ),
    Role.SUPPORT: (
        "custom:daas:people:read",
        "custom:daas:proposals:read",
        "custom:daas:quotas:read",
        "custom:daas:accounts:read",
        "custom:daas:identities:write",
        "custom:daas:lockouts:release",
    ),
    Role.STAKEHOLDER: ("custom:daas:usage:read",),
}

# What each of our own tokens may do, and which services it may speak to.
SERVICE_SCOPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "quotas": (
        (
            "custom:daas:accounts:read",
            "custom:daas:audit:write",
            "custom:daas:people:read",
            "custom:daas:proposals:read",
        ),
        ("accounts", "proposals"),
    ),
    "accounts": (
        (
            "custom:daas:sessions:end",
            "custom:daas:logins:end",
            "custom:daas:requests:announce",
            "custom:daas:people:read",
            "custom:daas:proposals:read",
        ),
        ("lifecycle", "proposals"),
    ),
    "lifecycle": (
        (
            "custom:daas:quotas:read",
            "custom:daas:reservations:write",
            "custom:daas:accounts:read",
            "custom:daas:proposals:read",
            "custom:daas:audit:write",
            "custom:daas:sessions:reconcile",
            "read:servers",
            "delete:servers",
        ),
        ("quotas", "accounts", "proposals"),
    ),
}
HUB_SCOPES = (
    (
        "custom:daas:people:read",
        "custom:daas:proposals:read",
        "custom:daas:accounts:read",
        "custom:daas:identities:prove",
        "custom:daas:roles:entitle",
        "custom:daas:audit:write",
        "custom:daas:reservations:write",
        "custom:daas:bank:write",
    ),
    ("proposals", "accounts", "quotas", "bank"),
)


def access(services: Collection[str]) -> list[str]:
    """Return the scopes to reach these services."""
    return [f"access:services!service={name}" for name in sorted(services)]


def portal_scopes(services: Collection[str]) -> list[str]:
    """Return what the portal's token for a person may carry at most; of what she lacks it carries nothing."""
    return [*access(services), *OWN_SESSIONS, *STAFF_PAGES]


def set_roles(c: Any, started: set[str], hub_service: str) -> None:
    """Declare the custom scopes, and give people, staff and services what they need."""
    c.JupyterHub.custom_scopes = {
        **c.JupyterHub.get("custom_scopes", {}),
        **{scope: {"description": description} for scope, description in SCOPES.items()},
    }
    entries: list[dict[str, Any]] = [
        {"name": "user", "scopes": ["self", *access(started)]},
        _service_role(hub_service, *HUB_SCOPES, known=started),
    ]
    entries += [
        _service_role(name, *SERVICE_SCOPES[name], known=started)
        for name in sorted(started & set(SERVICE_SCOPES))
    ]
    entries += [
        {"name": group_of(role), "scopes": list(scopes), "groups": [group_of(role)]}
        for role, scopes in STAFF_SCOPES.items()
    ]
    c.JupyterHub.load_roles = [*c.JupyterHub.get("load_roles", []), *entries]


def _service_role(
    name: str, scopes: tuple[str, ...], reaches: tuple[str, ...], *, known: set[str]
) -> dict[str, Any]:
    return {
        "name": f"daas-service-{name.removeprefix('daas-')}",
        "scopes": [*scopes, *access(set(reaches) & known)],
        "services": [name],
    }
