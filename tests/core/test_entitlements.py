"""Entitlements by AARC-G069: only what is configured counts, and hostile values give nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyterhub_daas.core.entitlements import (
    MAX_LENGTH,
    MOST,
    Entitled,
    Entitlement,
    EntitlementRule,
    EntitlementSource,
    entitled,
    parse,
    values_of,
)
from jupyterhub_daas.core.people import Role, RoleGrant

ISSUER, NAMESPACE, AUTHORITY = "https://proxy.example", "urn:example:aai.example:daas", "aai.example"
HEAD = f"{NAMESPACE}:group:"
SOURCE: dict[str, Any] = {
    "issuer": ISSUER,
    "namespace": NAMESPACE,
    "authorities": [AUTHORITY],
    "rules": [
        {"group": "portal:operators", "group_role": "manager", "role": "admin"},
        {"group": "portal:staff", "role": "staff", "hub_group": "floor-staff"},
        {"group": "id21", "role": "instrument_scientist", "instruments": ["id21"]},
        {"group": "id16", "role": "instrument_scientist", "instruments": ["id16a", "id16b"]},
        {"group": "all%20beamlines", "role": "instrument_scientist"},
        {"group": "guests", "hub_group": "guests"},
    ],
}


def source(**changes: Any) -> EntitlementSource:
    """Return the configuration, with something changed."""
    return EntitlementSource.model_validate({**SOURCE, **changes})


def given_by(*values: str, issuer: str = ISSUER) -> Entitled:
    """Return what entitlements give."""
    return entitled([source()], issuer, values)


@pytest.mark.parametrize(
    ("text", "groups", "role", "authority"),
    [
        (f"{HEAD}staff", ("staff",), "member", ""),
        (f"{HEAD}staff#{AUTHORITY}", ("staff",), "member", AUTHORITY),
        (f"{HEAD}staff:role=member#{AUTHORITY}", ("staff",), "member", AUTHORITY),
        (f"{HEAD}a:b:c:role=manager#{AUTHORITY}", ("a", "b", "c"), "manager", AUTHORITY),
        (f"{HEAD}two%20words:a%3Ab%23c:role=r%C3%A9dacteur", ("two words", "a:b#c"), "rédacteur", ""),
        (f"{HEAD}group:group", ("group", "group"), "member", ""),
        (f"{HEAD}roles", ("roles",), "member", ""),
        (f"URN:EXAMPLE:aai.example:daas:group:Staff#{AUTHORITY}", ("Staff",), "member", AUTHORITY),
    ],
)
def test_reads_what_the_guideline_describes(
    text: str, groups: tuple[str, ...], role: str, authority: str
) -> None:
    assert parse(text, NAMESPACE) == Entitlement(NAMESPACE, groups, role, authority)


NONE = [
    "",
    "admin",
    HEAD,
    f"{HEAD}:staff",
    f"{HEAD}staff:",
    f"{HEAD}a::b",
    f"{HEAD}role=manager",
    f"{HEAD}staff:role=",
    f"{HEAD}staff:role=a:role=b",
    f"{HEAD}role=a:staff",
    f"{HEAD}staff:role=a:sub",
    f"{HEAD}staff#",
    f"{HEAD}staff#{AUTHORITY}#x",
    f"{HEAD}staff %41",
    f"{HEAD}staff%",
    f"{HEAD}staff%4",
    f"{HEAD}staff%zz",
    f"{HEAD}staff%00",
    f"{HEAD}staff%0a",
    f"{HEAD}staff%ff",
    f"{HEAD}%e2%80%aestaff",
    f"{HEAD}ståff",
    f"{HEAD}staff\n",
    f"\n{HEAD}staff",
    f" {HEAD}staff",
    f"{HEAD}staff?=x",
    f"{HEAD}<staff>",
    f"{HEAD}" + "x" * MAX_LENGTH,
    f"{NAMESPACE}:group",
    f"{NAMESPACE}:groups:staff",
    f"{NAMESPACE}x:group:staff",
    f"{NAMESPACE}:sub:group:staff",
    f"{NAMESPACE}:res:staff",
    "urn:example:aai.example:DAAS:group:staff",
    "urn:example:aai.example:group:staff",
    "urn:example:evil:group:x:urn:example:aai.example:daas:group:staff",
    f"https://evil.example/{HEAD}staff",
]


@pytest.mark.parametrize("text", NONE)
def test_everything_else_is_none(text: str) -> None:
    assert parse(text, NAMESPACE) is None


@pytest.mark.parametrize("value", [None, 5, True, [], {}, b"urn", ["urn"]])
def test_what_is_no_text_is_none(value: object) -> None:
    assert parse(value, NAMESPACE) is None


def test_gives_what_is_configured() -> None:
    held = (f"{HEAD}portal:operators:role=manager#{AUTHORITY}", f"{HEAD}portal:staff#{AUTHORITY}")
    assert given_by(*held) == Entitled(
        (RoleGrant(role=Role.ADMIN), RoleGrant(role=Role.STAFF)), ("floor-staff",)
    )
    assert given_by(f"{HEAD}guests#{AUTHORITY}") == Entitled((), ("guests",))


@pytest.mark.parametrize(
    "value",
    [
        f"{HEAD}portal:operators#{AUTHORITY}",
        f"{HEAD}portal:operators:role=owner#{AUTHORITY}",
        f"{HEAD}portal:operators:role=Manager#{AUTHORITY}",
        f"{HEAD}portal:operators:role=manager",
        f"{HEAD}portal:operators:role=manager#{AUTHORITY}.evil.example",
        f"{HEAD}portal:operators:role=manager#evil.example",
        f"{HEAD}portal:operators:role=manager#{AUTHORITY.upper()}",
        f"{HEAD}portal:operators:sub:role=manager#{AUTHORITY}",
        f"{HEAD}portal:role=manager#{AUTHORITY}",
        f"{HEAD}operators:role=manager#{AUTHORITY}",
        f"{HEAD}portal%3Aoperators:role=manager#{AUTHORITY}",
        f"{HEAD}Portal:operators:role=manager#{AUTHORITY}",
        f"{HEAD}admin#{AUTHORITY}",
        f"{HEAD}daas-admin:role=admin#{AUTHORITY}",
        "urn:example:elsewhere:group:portal:operators:role=manager#" + AUTHORITY,
        "admin",
        "daas-admin",
    ],
)
def test_nothing_else_makes_anybody_an_administrator(value: str) -> None:
    assert given_by(value) == Entitled()


def test_another_provider_can_say_nothing_about_it() -> None:
    value = f"{HEAD}portal:operators:role=manager#{AUTHORITY}"
    for issuer in ("https://evil.example", ISSUER + "/", ISSUER.upper(), ""):
        assert given_by(value, issuer=issuer) == Entitled()


def test_instruments_add_up_and_none_means_all() -> None:
    held = [f"{HEAD}id21#{AUTHORITY}", f"{HEAD}id16#{AUTHORITY}"]
    (grant,) = given_by(*held).roles
    assert grant == RoleGrant(role=Role.INSTRUMENT_SCIENTIST, instruments=("id16a", "id16b", "id21"))
    (grant,) = given_by(*held, f"{HEAD}all%20beamlines#{AUTHORITY}").roles
    assert grant.instruments == ()


def test_an_authority_that_is_not_named_counts_only_if_that_is_configured() -> None:
    value = f"{HEAD}portal:staff"
    assert entitled([source(authorities=[""])], ISSUER, [value]).roles == (RoleGrant(role=Role.STAFF),)
    assert entitled([source(authorities=["", AUTHORITY])], ISSUER, [f"{value}#{AUTHORITY}"]).groups == (
        "floor-staff",
    )
    assert entitled([source(authorities=[""])], ISSUER, [f"{value}#{AUTHORITY}"]) == Entitled()


PIECES = [
    *("urn", "example", "aai.example", "daas", "group", "portal", "operators", "role=manager", "role="),
    *("", "%", ":", "#", "%3A", "%23", "%00", "é", "\n", AUTHORITY, NAMESPACE, HEAD, "#" + AUTHORITY),
]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(PIECES),
        max_size=12,
    ).map("".join),
    st.lists(st.sampled_from(["portal", "operators", "role=manager", "sub", "group"]), max_size=6).map(
        lambda parts: HEAD + ":".join(parts) + "#" + AUTHORITY
    ),
)


@given(st.lists(TEXTS, max_size=6))
def test_admin_comes_from_the_configured_text_alone(values: list[str]) -> None:
    found = given_by(*values)
    folded = {each[:12].lower() + each[12:] for each in values}
    wanted = f"{HEAD}portal:operators:role=manager#{AUTHORITY}"
    assert (RoleGrant(role=Role.ADMIN) in found.roles) == (wanted in folded)


@given(TEXTS)
def test_never_fails_and_keeps_every_part(text: str) -> None:
    found = parse(text, NAMESPACE)
    if found is None:
        return
    assert found.groups
    assert all(each and each.isprintable() for each in (*found.groups, found.role))
    assert len(found.groups) == len(text.partition("#")[0][len(HEAD) :].split(":")) - (":role=" in text)


@pytest.mark.parametrize(
    ("claims", "values"),
    [
        ({}, ()),
        ({"eduperson_entitlement": "one"}, ("one",)),
        (
            {"eduperson_entitlement": ["one", "two"], "entitlements": ["two", "three"]},
            ("one", "two", "three"),
        ),
        ({"entitlements": {"one": 1}}, ()),
        ({"entitlements": ["one", 5, None, ["two"], "", "x" * (MAX_LENGTH + 1), "é", "a\nb"]}, ("one",)),
        ({"entitlements": 5, "eduperson_entitlement": None}, ()),
    ],
)
def test_takes_texts_from_claims(claims: dict[str, Any], values: tuple[str, ...]) -> None:
    assert values_of(claims) == values


def test_takes_no_more_than_there_can_be() -> None:
    assert len(values_of({"entitlements": [str(number) for number in range(MOST + 50)]})) == MOST


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"authorities": []}, "authorities"),
        ({"rules": []}, "rules"),
        ({"namespace": "example:daas"}, "namespace"),
        ({"namespace": f"{NAMESPACE}:group:portal"}, "what stands before"),
        ({"namespace": f"{NAMESPACE}:group"}, "what stands before"),
        ({"namespace": NAMESPACE + ":"}, "namespace"),
        ({"issuer": ""}, "issuer"),
        ({"rules": [{"group": "a"}]}, "give a role"),
        ({"rules": [{"group": "a", "role": "user"}]}, "everybody is a user"),
        ({"rules": [{"group": "a", "role": "root"}]}, "role"),
        ({"rules": [{"group": "a::b", "role": "staff"}]}, "each part"),
        ({"rules": [{"group": "a%ff", "role": "staff"}]}, "each part"),
        ({"rules": [{"group": "a", "hub_group": "daas-admin"}]}, "are for roles"),
        ({"rules": [{"group": "a", "roles": "staff"}]}, "roles"),
    ],
)
def test_refuses_a_configuration_that_means_something_else(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        source(**changes)


def test_a_rule_knows_its_path() -> None:
    assert EntitlementRule(group="a%20b:c", role=Role.STAFF).path == ("a b", "c")
