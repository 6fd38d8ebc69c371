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


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_keeps_its_contract(
    case: schemathesis.Case[Any], fast_stack: Stack, token_of: Callable[[str], str]
) -> None:
    username = case.path_parameters.get("username")
    if matches(USERNAME, username):
        # An administrator, who may all: of her own account, and of another where nobody may change her own.
        changes_others = any(part in case.path for part in ("/block", "/roles"))
        case.path_parameters["username"] = "yuri" if changes_others else "sofia"
    # An expiry in the past fits the schema and is refused all the same.
    excluded: list[Any] = [positive_data_acceptance] if case.path.endswith("/roles/{role}") else []
    case.call_and_validate(
        base_url=fast_stack.service_url("accounts") + "api/v1",
        headers={"Authorization": f"Bearer {token_of('sofia')}"},
        excluded_checks=excluded,
    )


def test_serves_its_contract(fast_stack: Stack) -> None:
    answer = requests.get(fast_stack.service_url("accounts") + "openapi.yaml", timeout=10)
    assert answer.headers["Content-Type"] == "application/yaml"
    assert answer.text == openapi_text("accounts")
