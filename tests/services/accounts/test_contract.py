"""The running service keeps what its openapi.yaml promises, for requests that fit it and for all others."""

from collections.abc import Callable
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.services.application import openapi_text
from tests.support.stack import Stack

schema = schemathesis.openapi.from_file(openapi_text("accounts"))

# A schema can't say that a moment lies between two years, nor that one comes before the other.
MOMENTS = {"time", "from", "to"}
# A request that fits may be the second one, have characters without a shape, or be none that is known; and no
# entitlements are configured here.
REFUSED = (
    *("/roles/{role}", "/entitled-roles", "/identities", "/unlink"),
    *("/access-requests", "/accept", "/decline"),
)


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_keeps_its_contract(
    case: schemathesis.Case[Any], fast_stack: Stack, token_of: Callable[[str], str]
) -> None:
    username = case.path_parameters.get("username")
    if matches(USERNAME, username):
        # An administrator, who may all: of her own account, and of another where nobody may change her own.
        changes_others = any(part in case.path for part in ("/block", "/roles", "/identities"))
        case.path_parameters["username"] = "yuri" if changes_others else "sofia"
    # Events are recorded by services and requests by the hub, all else is done by an administrator.
    others = {
        ("POST", "/audit"): fast_stack.service_token,
        ("POST", "/access-requests"): fast_stack.hub_token,
        ("PUT", "/people/{username}/entitled-roles"): fast_stack.hub_token,
    }
    token = others.get((case.method, case.path)) or token_of("sofia")
    sent: dict[str, Any] = {
        "base_url": fast_stack.service_url("accounts") + "api/v1",
        "headers": {"Authorization": f"Bearer {token}"},
    }
    response = case.call(**sent)
    about_moments = response.status_code == 400 and response.json()["error"]["field"] in MOMENTS
    # An expiry in the past fits the schema and is refused all the same; so are links without a reason.
    refused = about_moments or case.path.endswith(REFUSED)
    case.validate_response(
        response,
        headers=sent["headers"],
        excluded_checks=[positive_data_acceptance] if refused else [],
        transport_kwargs=sent,
    )


def test_serves_its_contract(fast_stack: Stack) -> None:
    answer = requests.get(fast_stack.service_url("accounts") + "openapi.yaml", timeout=60)
    assert answer.headers["Content-Type"] == "application/yaml"
    assert answer.text == openapi_text("accounts")
