"""Availability: what a backend may say of a flavour."""

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.availability import Availability


def test_a_flavour_fits_and_is_not_counted_unless_said() -> None:
    known = Availability(flavour="small")
    assert (known.fits, known.free, known.reason, known.since, known.until) == (True, None, "", None, None)


def test_refuses_some_free_of_what_never_fits() -> None:
    with pytest.raises(ValidationError, match="none free"):
        Availability(flavour="small", fits=False, free=1)
    assert Availability(flavour="small", fits=False, free=0).free == 0


@pytest.mark.parametrize("free", [-1, 1.5, True, "2"], ids=str)
def test_refuses_a_count_that_is_none(free: object) -> None:
    with pytest.raises(ValidationError):
        Availability.model_validate({"flavour": "small", "free": free})
