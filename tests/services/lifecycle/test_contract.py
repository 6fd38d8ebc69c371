"""The running service keeps what its openapi.yaml promises, for requests that fit it and for all others."""

from collections.abc import Callable
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, settings

from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.services.application import openapi_text
from tests.support.stack import Stack

schema = schemathesis.openapi.from_file(openapi_text("lifecycle"))


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_keeps_its_contract(
    case: schemathesis.Case[Any], fast_stack: Stack, token_of: Callable[[str], str]
) -> None:
    if matches(USERNAME, case.path_parameters.get("username")):
        # An administrator's own sessions; those that end are of somebody who has none.
        case.path_parameters["username"] = "yuri" if case.path.endswith("/end") else "sofia"
    case.call_and_validate(
        base_url=fast_stack.service_url("lifecycle") + "api/v1",
        headers={"Authorization": f"Bearer {token_of('sofia')}"},
    )


def test_serves_its_contract(fast_stack: Stack) -> None:
    answer = requests.get(fast_stack.service_url("lifecycle") + "openapi.yaml", timeout=60)
    assert answer.headers["Content-Type"] == "application/yaml"
    assert answer.text == openapi_text("lifecycle")
