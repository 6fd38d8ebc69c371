"""The running service keeps what its openapi.yaml promises, for requests that fit it and for all others."""

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, settings

from jupyterhub_daas.core.names import IDENTIFIER, USERNAME, matches
from jupyterhub_daas.services.application import openapi_text
from jupyterhub_daas.services.proposals.handlers import ROUTES
from tests.services.proposals.service import ProposalsProcess

schema = schemathesis.openapi.from_file(openapi_text("proposals"))

# What generated requests name: something that is there, something that is not the caller's, nothing.
KNOWN = {
    "username": (USERNAME, ("amara", "dora", "nobody")),
    "identifier": (IDENTIFIER, ("MA-9", "SECRET-1", "NONE")),
}


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("caller", ["daas-hub", "amara"])
def test_keeps_its_contract(case: schemathesis.Case[Any], service: ProposalsProcess, caller: str) -> None:
    # What is empty is not sent: the service would be blamed for a request that it never got.
    assume(all(value not in ([], {}, None) for value in (case.query or {}).values()))
    # Which one is named depends on the request only; names that can't be stay as they are.
    chosen = len(repr(case.query)) % 3
    for name, (pattern, known) in KNOWN.items():
        if matches(pattern, case.path_parameters.get(name)):
            case.path_parameters[name] = known[chosen]
    case.call_and_validate(base_url=service.root + "api/v1", headers={"Authorization": f"Bearer {caller}"})


def test_every_route_is_in_the_contract() -> None:
    names = {"people": "{username}", "proposals": "{identifier}"}
    routes = set()
    for pattern, _ in ROUTES:
        first, *rest = pattern.removeprefix("api/v1/").split("/", 1)
        routes.add("/" + "/".join([first, *(each.replace("([^/]+)", names[first]) for each in rest)]))
    assert routes == set(schema.raw_schema["paths"])


def test_serves_its_contract_and_its_documentation(service: ProposalsProcess) -> None:
    answer = requests.get(service.root + "openapi.yaml", timeout=60)
    assert answer.headers["Content-Type"] == "application/yaml"
    assert answer.text == openapi_text("proposals")
    page = requests.get(service.root + "docs", timeout=60)
    assert "Proposal-data API" in page.text
    assert "/proposals/{identifier}/mounts" in page.text
