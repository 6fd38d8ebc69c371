"""Resources are a vector over five dimensions; every value is finite, not negative and bounded.

Cpus count in thousandths, so that sums are exact. Memory and storage are bytes. Texts such as ``3G`` count
in 1024s, as JupyterHub's own ByteSpecification does.
"""

import math
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from jupyterhub_daas.core.model import Model

DIMENSIONS = ("machines", "cpus", "memory", "storage", "gpus")

MAX_COUNT = 1_000_000
MAX_BYTES = 1 << 60

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_BYTES = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s?([KMGTP]?)(?:i?B)?", re.ASCII)


def parse_bytes(value: object) -> object:
    """Turn ``"3G"`` into bytes; leave anything else for pydantic to judge."""
    if not isinstance(value, str):
        return value
    match = _BYTES.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be a number of bytes such as 512M or 3G")
    number, unit = match.groups()
    return math.ceil(float(number) * _UNITS[unit])


def _refuse_bool(value: object) -> object:
    # bool is an int to Python: without this, true would count as one machine.
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _refuse_text(value: object) -> object:
    # 1.0 is a whole number in JSON; "1" is none.
    if isinstance(value, str):
        raise ValueError("must be a number")
    return value


def in_thousandths(cpus: float) -> float:
    """Round cpus to what is counted: three times 0.1 are 0.3, not 0.30000000000000004."""
    return round(cpus, 3)


Count = Annotated[
    int, BeforeValidator(_refuse_text), BeforeValidator(_refuse_bool), Field(ge=0, le=MAX_COUNT)
]
Cpus = Annotated[
    float,
    BeforeValidator(_refuse_bool),
    Field(ge=0, le=MAX_COUNT, allow_inf_nan=False, strict=True),
    AfterValidator(in_thousandths),
]
Bytes = Annotated[int, BeforeValidator(parse_bytes), BeforeValidator(_refuse_bool), Field(ge=0, le=MAX_BYTES)]


class Resources(Model):
    """Amounts that a session asks for, holds, or may hold."""

    machines: Count = 0
    cpus: Cpus = 0.0
    memory: Bytes = 0
    storage: Bytes = 0
    gpus: Count = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources.model_construct(
            machines=self.machines + other.machines,
            cpus=in_thousandths(self.cpus + other.cpus),
            memory=self.memory + other.memory,
            storage=self.storage + other.storage,
            gpus=self.gpus + other.gpus,
        )

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources.model_construct(
            machines=self.machines - other.machines,
            cpus=in_thousandths(self.cpus - other.cpus),
            memory=self.memory - other.memory,
            storage=self.storage - other.storage,
            gpus=self.gpus - other.gpus,
        )


class Limits(Model):
    """Upper bounds per dimension; ``None`` is unlimited."""

    machines: Count | None = None
    cpus: Cpus | None = None
    memory: Bytes | None = None
    storage: Bytes | None = None
    gpus: Count | None = None

    def of(self, dimension: str) -> float | None:
        """Return the bound of one dimension."""
        value: float | None = getattr(self, dimension)
        return value

    def merged(self, other: "Limits") -> "Limits":
        """Return these bounds with those that `other` sets put in their place."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


def format_bytes(amount: float) -> str:
    """Write bytes for a person: ``9 G``, ``1.5 G``, ``512 M``."""
    for unit in ("P", "T", "G", "M", "K"):
        if amount >= _UNITS[unit]:
            return f"{amount / _UNITS[unit]:.4g} {unit}"
    return f"{amount:.0f} B" if amount else "0"


def format_amount(dimension: str, amount: float | None) -> str:
    """Write an amount of a dimension for a person; ``None`` is unlimited."""
    if amount is None:
        return "unlimited"
    if dimension in ("memory", "storage"):
        return format_bytes(amount)
    return f"{amount:g}"
