"""The form of /hub/spawn: proposal, environment and flavour. It checks nothing: the gate does."""

from collections.abc import Mapping
from html import escape
from typing import Any

from jupyterhub_daas.core.proposals import Proposal
from jupyterhub_daas.core.resources import format_bytes
from jupyterhub_daas.errors import DaasError
from jupyterhub_daas.spawners.deployment import Deployment

MOST_PROPOSALS = 100
FIELDS = ("proposal", "environment", "flavour", "profile", "backend")


def options_from_form(form_data: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the fields of a form or of a link into the options that REST takes."""
    options: dict[str, Any] = {}
    for name, values in form_data.items():
        if name == "_xsrf" or values in ([], [""]):
            continue
        # More than one value of a field, or a field that is not ours, is refused by the gate.
        options[name] = values[0] if name in FIELDS and len(values) == 1 else values
    return options


async def build_form(deployment: Deployment, username: str, chosen: Mapping[str, Any]) -> str:
    """Return the fields of the form; the hub adds the form around them and the button."""
    try:
        page = await deployment.proposals.proposals_of(username, limit=MOST_PROPOSALS)
        proposal = _proposals(page.items, page.total, chosen.get("proposal"))
    except DaasError as error:
        proposal = f'<p role="alert">{escape(error.message)}</p>' + _text(chosen.get("proposal"))
    catalogue = deployment.catalogue
    offered = {profile.environment for profile in catalogue.profiles.values()}
    environments = {key: entry.title for key, entry in catalogue.environments.items() if key in offered}
    flavours = {
        key: f"{entry.title}: {entry.cpus:g} CPU, {format_bytes(entry.memory)} memory"
        for key, entry in catalogue.flavours.items()
    }
    return (
        proposal
        + _field("environment", "Environment", _options(environments, chosen.get("environment")))
        + _field(
            "flavour",
            "Flavour",
            _options({"": "As usual for the environment", **flavours}, chosen.get("flavour")),
        )
    )


def _proposals(items: tuple[Proposal, ...], total: int, chosen: object) -> str:
    if total > len(items):
        return _text(chosen)
    titles = {each.identifier: f"{each.identifier}: {each.title[:80]}" for each in items}
    return _field("proposal", "Proposal", _options(titles, chosen))


def _text(chosen: object) -> str:
    value = escape(chosen) if isinstance(chosen, str) else ""
    return (
        '<div class="mb-3"><label class="form-label" for="daas-proposal">Proposal</label>'
        f'<input class="form-control" id="daas-proposal" name="proposal" required value="{value}"></div>'
    )


def _field(name: str, label: str, options: str) -> str:
    return (
        f'<div class="mb-3"><label class="form-label" for="daas-{name}">{label}</label>'
        f'<select class="form-select" id="daas-{name}" name="{name}">{options}</select></div>'
    )


def _options(titles: Mapping[str, str], chosen: object) -> str:
    return "".join(
        f'<option value="{escape(key)}"{" selected" if key == chosen else ""}>{escape(title)}</option>'
        for key, title in titles.items()
    )
