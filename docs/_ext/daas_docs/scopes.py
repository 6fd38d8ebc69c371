"""The custom scopes, and the roles that carry them."""

from daas_docs import rst
from jupyterhub_daas import roles
from jupyterhub_daas.configure import SERVICES
from jupyterhub_daas.core.people import group_of


def render_scopes() -> str:
    """Return each custom scope with its meaning."""
    rows = [(rst.code(scope), rst.prose(text)) for scope, text in roles.SCOPES.items()]
    return "\n".join(rst.table(("Scope", "Allows to"), rows, (45, 55)))


def render_roles() -> str:
    """Return who gets which scopes: people by role, services by name."""
    people = [
        (rst.code(role.value), rst.code(group_of(role)), rst.codes(scopes))
        for role, scopes in roles.STAFF_SCOPES.items()
    ]
    tokens = {"the hub itself": roles.HUB_SCOPES} | roles.SERVICE_SCOPES
    services = [(name, rst.codes(scopes), rst.codes(reaches)) for name, (scopes, reaches) in tokens.items()]
    lines = [*rst.title("People", "~")]
    lines += rst.table(("Role", "Group of the hub", "Scopes"), people, (20, 25, 55))
    lines += [*rst.title("Services", "~")]
    lines += rst.table(("Token of", "Scopes", "May speak to"), services, (15, 60, 25))
    lines += [
        *rst.title("The portal", "~"),
        "The token that the portal gets for a person carries at most:",
        "",
    ]
    lines += [f"* {rst.code(scope)}" for scope in roles.portal_scopes(SERVICES)]
    return "\n".join(lines)
