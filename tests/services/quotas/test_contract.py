"""The running service keeps what its openapi.yaml promises, for requests that fit it and for all others."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from jupyterhub_daas.services.application import openapi_text
from tests.services.quotas.neighbours import Neighbours
from tests.services.quotas.portal import Quotas

schema = schemathesis.openapi.from_file(openapi_text("quotas"))

# A schema can't say that a moment lies between two years, nor that one comes before the other.
MOMENTS = {"expires_at", "from", "to"}


@pytest.fixture(scope="module")
def own_quotas(neighbours: Neighbours, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quotas]:
    """A service of its own: what is made up here may hold all that the facility has."""
    running = Quotas(tmp_path_factory.mktemp("contract"), neighbours)
    yield running.start()
    running.stop()


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_keeps_its_contract(case: schemathesis.Case, own_quotas: Quotas) -> None:
    sent = {"base_url": own_quotas.url + "api/v1", "headers": {"Authorization": "Bearer all"}}
    response = case.call(**sent)
    about_moments = response.status_code == 400 and response.json()["error"]["field"] in MOMENTS
    case.validate_response(
        response,
        headers=sent["headers"],
        excluded_checks=[positive_data_acceptance] if about_moments else [],
        transport_kwargs=sent,
    )
