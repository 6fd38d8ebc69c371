"""Resources: what is a number of something, and exact sums of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyterhub_daas.core.resources import (
    DIMENSIONS,
    MAX_BYTES,
    MAX_COUNT,
    Limits,
    Resources,
    format_amount,
    format_bytes,
    parse_bytes,
)

G = 1 << 30

amounts = st.builds(
    Resources,
    machines=st.integers(0, 1000),
    cpus=st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000),
    memory=st.integers(0, 1 << 50),
    storage=st.integers(0, 1 << 50),
    gpus=st.integers(0, 1000),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3G", 3 * G), ("512M", 512 << 20), ("1.5 GiB", 3 * G // 2), ("7", 7), ("1T", 1 << 40), ("2KB", 2048)],
)
def test_reads_bytes_as_people_write_them(text: str, expected: int) -> None:
    assert Resources(memory=text).memory == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory", "-3G"),
        ("memory", "3 Gigs"),
        ("memory", "1e3"),
        ("memory", ""),
        ("memory", "٣G"),
        ("memory", "999999P"),
        ("memory", "9" * 10_000),
        ("memory", MAX_BYTES + 1),
        ("memory", 1.5),
        ("memory", True),
        ("memory", math.nan),
        ("storage", -1),
        ("cpus", -0.1),
        ("cpus", math.nan),
        ("cpus", math.inf),
        ("cpus", "2"),
        ("cpus", "NaN"),
        ("cpus", True),
        ("cpus", None),
        ("cpus", MAX_COUNT + 1),
        ("machines", 1.5),
        ("machines", "1"),
        ("machines", True),
        ("machines", MAX_COUNT + 1),
        ("gpus", -1),
        ("gpus", [1]),
        ("disks", 1),
    ],
)
def test_refuses_what_is_no_amount(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Resources.model_validate({field: value})


@pytest.mark.parametrize(
    "text",
    ['{"cpus": NaN}', '{"cpus": Infinity}', '{"cpus": 1e999}', '{"memory": 1e40}', '{"machines": 1e99}'],
)
def test_refuses_numbers_that_only_json_libraries_know(text: str) -> None:
    with pytest.raises(ValidationError):
        Resources.model_validate_json(text)


def test_three_tenths_of_a_cpu_are_exactly_that() -> None:
    tenth = Resources(cpus=0.1)
    assert (tenth + tenth + tenth).cpus == 0.3


def test_counts_cpus_in_thousandths() -> None:
    assert Resources(cpus=0.12345).cpus == 0.123


@given(amounts, amounts)
def test_taking_away_undoes_adding(one: Resources, other: Resources) -> None:
    assert one + other - other == one


@given(st.lists(amounts, max_size=20))
def test_sums_do_not_depend_on_the_order(each: list[Resources]) -> None:
    forward, backward = Resources(), Resources()
    for one in each:
        forward += one
    for one in reversed(each):
        backward += one
    assert forward == backward


def test_an_override_puts_only_what_it_names_in_place() -> None:
    limits = Limits(machines=5, cpus=10, memory=30 * G)
    assert limits.merged(Limits(machines=8, cpus=None)) == Limits(machines=8, cpus=None, memory=30 * G)


@pytest.mark.parametrize(
    ("dimension", "amount", "expected"),
    [
        ("memory", 9 * G, "9 G"),
        ("storage", 3 * G // 2, "1.5 G"),
        ("memory", 0, "0"),
        ("memory", 100, "100 B"),
        ("storage", None, "unlimited"),
        ("cpus", 0.5, "0.5"),
        ("machines", 3, "3"),
    ],
)
def test_writes_amounts_for_people(dimension: str, amount: float | None, expected: str) -> None:
    assert format_amount(dimension, amount) == expected


@given(st.integers(1, 999), st.sampled_from("KMGTP"))
def test_reads_what_it_writes(number: int, unit: str) -> None:
    size = parse_bytes(f"{number}{unit}")
    assert isinstance(size, int)
    assert parse_bytes(format_bytes(size)) == size


def test_every_dimension_is_a_field_of_both() -> None:
    assert set(DIMENSIONS) == set(Resources.model_fields) == set(Limits.model_fields)
