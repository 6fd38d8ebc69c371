"""Requests for reservations: what comes in is bounded in every field."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.reservations import DEFAULT_HOLD_SECONDS, ReservationRequest

REQUEST: dict[str, Any] = {
    "person": "amara",
    "proposal": "20180301",
    "session": "brave-curie",
    "resources": {"machines": 1, "cpus": 1, "memory": "3G", "storage": "5G"},
    "environment": "jupyter",
    "flavour": "small",
    "backend": "local",
}


def test_takes_what_the_contract_names() -> None:
    request = ReservationRequest.model_validate(REQUEST)
    assert request.hold_seconds == DEFAULT_HOLD_SECONDS
    assert request.resources.memory == 3 << 30


@pytest.mark.parametrize("name", sorted(REQUEST))
def test_refuses_a_request_that_leaves_something_out(name: str) -> None:
    with pytest.raises(ValidationError):
        ReservationRequest.model_validate({key: value for key, value in REQUEST.items() if key != name})


@pytest.mark.parametrize(
    "change",
    [
        {"person": "../amara"},
        {"person": "amara\n"},
        {"person": "a" * 10_000},
        {"person": "Amara"},
        {"person": "аmara"},
        {"proposal": "2018/0301"},
        {"proposal": "..."},
        {"proposal": '20180301"'},
        {"session": "brave curie"},
        {"session": None},
        {"environment": 5},
        {"instruments": ["id21"] * 51},
        {"instruments": ["id21; rm"]},
        {"instruments": "id21"},
        {"expires_at": "tomorrow"},
        {"expires_at": "2026-01-01T00:00:00"},
        {"expires_at": 1_700_000_000},
        {"expires_at": "1700000000"},
        {"expires_at": "9999-12-31T23:59:59-12:00"},
        {"expires_at": "1969-12-31T23:59:59Z"},
        {"idle_seconds": 0},
        {"idle_seconds": 10**30},
        {"hold_seconds": 0},
        {"hold_seconds": 86_401},
        {"hold_seconds": 1.5},
        {"state": "active"},
        {"resources": {"machines": -1}},
        {"resources": []},
    ],
    ids=lambda change: f"{next(iter(change))}-{str(next(iter(change.values())))[:12]!r}",
)
def test_refuses_hostile_values(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReservationRequest.model_validate({**REQUEST, **change})


def test_keeps_moments_in_utc() -> None:
    moment = TypeAdapter(Moment).validate_python("2026-01-01T02:00:00+02:00")
    assert moment == datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert moment.utcoffset() == timedelta(0)
