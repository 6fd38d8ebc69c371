"""People are never root; a role ends when it expires."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.people import Identity, Person, Role, RoleGrant, group_of, roles_in_force

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("field", ["uid", "gid"])
@pytest.mark.parametrize(
    "value", [0, -1, 1 << 32, (1 << 32) - 1, 10**30, None, "", "root", 1.5, float("nan")]
)
def test_refuses_an_account_that_is_root_or_none(field: str, value: Any) -> None:
    given = {"username": "amara", "uid": 5, "gid": 5, field: value}
    with pytest.raises(ValidationError) as caught:
        Person.model_validate(given)
    assert caught.value.errors()[0]["loc"] == (field,)


def test_takes_the_highest_account() -> None:
    assert Person(username="amara", uid=(1 << 32) - 2, gid=1).uid == 4294967294


def test_refuses_a_field_that_is_not_known() -> None:
    with pytest.raises(ValidationError):
        Person.model_validate({"username": "amara", "uid": 5, "gid": 5, "admin": True})


def test_a_person_does_not_change() -> None:
    person = Person(username="amara", uid=5, gid=5)
    with pytest.raises(ValidationError):
        person.uid = 6  # type: ignore[misc]  # this is what must fail


def test_identities_are_compared_exactly() -> None:
    identity = Identity(issuer="https://a.example", subject="x")
    for other in ({"subject": "X"}, {"subject": "x "}, {"issuer": "https://a.example/"}):
        assert identity != Identity(**{**identity.model_dump(), **other})
    assert identity == Identity(issuer="https://a.example", subject="x")


@pytest.mark.parametrize("given", [{"issuer": ""}, {"subject": ""}, {"subject": "x" * 256}, {"subject": 5}])
def test_refuses_half_an_identity(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Identity.model_validate({"issuer": "i", "subject": "s", **given})


@pytest.mark.parametrize(
    ("expires_at", "holds"),
    [
        pytest.param(None, True, id="without end"),
        pytest.param(NOW + SECOND, True, id="a second before its end"),
        pytest.param(NOW, False, id="at its end"),
        pytest.param(NOW - SECOND, False, id="a second after its end"),
        pytest.param(
            (NOW + SECOND).astimezone(timezone(timedelta(hours=-9))), True, id="written in another zone"
        ),
    ],
)
def test_a_role_ends_when_it_expires(expires_at: datetime | None, holds: bool) -> None:
    grant = RoleGrant(role=Role.ADMIN, expires_at=expires_at)
    assert grant.holds(NOW) is holds
    assert roles_in_force((grant,), NOW) == ({Role.ADMIN} if holds else set())


def test_one_grant_in_force_is_enough() -> None:
    grants = (
        RoleGrant(role=Role.SUPPORT, expires_at=NOW - SECOND),
        RoleGrant(role=Role.SUPPORT),
        RoleGrant(role=Role.TEACHER, expires_at=NOW - SECOND),
    )
    assert roles_in_force(grants, NOW) == {Role.SUPPORT}


@pytest.mark.parametrize("role", ["king", "ADMIN", "admin ", "", None, 1])
def test_refuses_an_unknown_role(role: Any) -> None:
    with pytest.raises(ValidationError):
        RoleGrant.model_validate({"role": role})


def test_each_role_has_its_own_group() -> None:
    assert group_of(Role.INSTRUMENT_SCIENTIST) == "daas-instrument-scientist"
    assert len({group_of(role) for role in Role}) == len(Role)
