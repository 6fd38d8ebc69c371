"""Moments: points in time with their offset, kept in UTC, within the years that every store can hold."""

import re
from datetime import datetime, timezone
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
LATEST = datetime(9000, 1, 1, tzinfo=timezone.utc)
_BEGINS_WITH_A_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _refuse_numbers(value: object) -> object:
    # pydantic would take 5 and "5" for seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and _BEGINS_WITH_A_DATE.match(value)):
        return value
    raise ValueError("must be a date and time such as 2026-01-31T12:00:00Z")


def _in_utc(value: datetime) -> datetime:
    if not EARLIEST <= value <= LATEST:
        raise ValueError(f"must lie between the years {EARLIEST.year} and {LATEST.year}")
    return value.astimezone(timezone.utc)


Moment = Annotated[AwareDatetime, BeforeValidator(_refuse_numbers), AfterValidator(_in_utc)]
