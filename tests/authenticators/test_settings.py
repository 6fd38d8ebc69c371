"""The authenticator's configuration: a mistake is an error at start, with its place."""

from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from jupyterhub_daas.authenticators import DaasAuthenticator
from jupyterhub_daas.authenticators.gate import MONITORING
from jupyterhub_daas.errors import ConfigurationError

URLS = {
    "proposals": "http://127.0.0.1:1/services/proposals/",
    "accounts": "http://127.0.0.1:1/services/accounts/",
}
UMBRELLA = {
    "key": "umbrella",
    "title": "UmbrellaID",
    "issuer": "https://umbrella.example",
    "client_id": "portal",
    "client_secret": "this-is-the-secret",
}


def made(**traits: Any) -> DaasAuthenticator:
    """Make an authenticator with these traits."""
    return DaasAuthenticator(config=Config(DaasAuthenticator={"service_urls": URLS, **traits}))


def refusal_of(**traits: Any) -> ConfigurationError:
    """Return why these traits are refused."""
    with pytest.raises(ConfigurationError) as error:
        made(**traits)
    return error.value


def test_the_defaults_are_the_safe_ones() -> None:
    authenticator = made(providers=[UMBRELLA])
    assert authenticator.enable_auth_state
    assert authenticator.manage_groups
    assert authenticator.auth_refresh_strict
    assert not authenticator.allow_existing_users
    assert not authenticator.allow_all
    assert tuple(authenticator.denied_subjects) == MONITORING
    assert authenticator.by_key["umbrella"].settings.scope == ("openid", "profile", "email")


@pytest.mark.parametrize("name", ["enable_auth_state", "manage_groups", "auth_refresh_strict"])
def test_refuses_to_switch_off_what_refusals_need(name: str) -> None:
    assert refusal_of(**{name: False}).field == f"DaasAuthenticator.{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("admin_users", {"amara"}),
        ("allowed_users", {"amara"}),
        ("whitelist", {"amara"}),
        ("allow_existing_users", True),
        ("username_map", {"amara": "root"}),
        ("manage_roles", True),
    ],
)
def test_refuses_what_would_let_a_name_in(name: str, value: Any) -> None:
    error = refusal_of(**{name: value})
    assert error.field == f"DaasAuthenticator.{'allowed_users' if name == 'whitelist' else name}"
    assert "accounts service" in error.message


def test_refuses_to_switch_refreshes_off() -> None:
    assert refusal_of(auth_refresh_age=0).field == "DaasAuthenticator.auth_refresh_age"


@pytest.mark.parametrize("missing", ["proposals", "accounts"])
def test_refuses_to_start_without_the_services_of_the_gate(missing: str) -> None:
    urls = {name: url for name, url in URLS.items() if name != missing}
    with pytest.raises(ConfigurationError, match=missing):
        DaasAuthenticator(config=Config(DaasAuthenticator={"service_urls": urls}))


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"issuer": None}, "providers[0].issuer"),
    "issuer without protection": ({"issuer": "http://umbrella.example"}, "providers[0].issuer"),
    "issuer with a password": ({"issuer": "https://me:pw@umbrella.example"}, "providers[0].issuer"),
    "issuer with a fragment": ({"issuer": "https://umbrella.example/#x"}, "providers[0].issuer"),
    "hostile key": ({"key": "../login"}, "providers[0].key"),
    "unknown field": ({"isuer": "x"}, "providers[0].isuer"),
    "two secrets": ({"client_secret_file": "/nowhere"}, "providers[0]"),
    "no secret": ({"client_secret": None}, "providers[0]"),
    "secret of a public client": ({"client_authentication": "none"}, "providers[0]"),
    "no openid": ({"scope": "profile"}, "providers[0].scope"),
    "hostile scope": ({"scope": ["openid", "a b"]}, "providers[0].scope"),
    "script as logo": ({"logo": "javascript:alert(1)"}, "providers[0].logo"),
    "logo of elsewhere": ({"logo": "//evil.example/x.png"}, "providers[0].logo"),
}


@pytest.mark.parametrize(("changes", "place"), MISTAKES.values(), ids=MISTAKES)
def test_names_the_place_of_a_mistake_and_keeps_the_secret(changes: dict[str, Any], place: str) -> None:
    fields = {name: value for name, value in {**UMBRELLA, **changes}.items() if value is not None}
    error = refusal_of(providers=[fields])
    assert f"DaasAuthenticator.{place}" in error.message
    assert "this-is-the-secret" not in error.message
    assert error.__cause__ is None


def test_refuses_two_providers_of_one_key() -> None:
    assert "twice" in refusal_of(providers=[UMBRELLA, UMBRELLA]).message


def test_reads_a_secret_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of the file\n")
    fields = {name: value for name, value in UMBRELLA.items() if name != "client_secret"}
    made(providers=[{**fields, "client_secret_file": str(file)}])
    file.unlink()
    error = refusal_of(providers=[{**fields, "client_secret_file": str(file)}])
    assert "umbrella" in str(error.field)


def test_a_secret_does_not_show_in_a_repr() -> None:
    assert "this-is-the-secret" not in repr(made(providers=[UMBRELLA]).by_key["umbrella"].settings)


def test_plain_http_is_for_this_machine_only() -> None:
    made(providers=[{**UMBRELLA, "issuer": "http://127.0.0.1:9000"}])
    made(providers=[{**UMBRELLA, "issuer": "http://localhost:9000"}])
    assert "issuer" in refusal_of(providers=[{**UMBRELLA, "issuer": "http://127.0.0.1.evil.example"}]).message


# Letters of other scripts and cases, parts that are joined or not seen: each may look like amara somewhere.
LOOK_ALIKES = [
    *("Amara", "AMARA", "amar\u0430", "\u0430mara", "\uff41mara", "amara\u0301", "am\u00e1ra", "amara\u200b"),
    *(
        "\u202eamara",
        "ama\ufb01",
        "amara\n",
        "amara ",
        " amara",
        ".amara",
        "-amara",
        "1amara",
        "amara\0",
        "\u0131",
    ),
    *("", "a/b", "../amara", "amara%2e", "amara@umbrella.example", "a" * 32),
]


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=ascii)
def test_only_a_persons_username_is_one(name: str) -> None:
    assert not made().validate_username(name)
    assert made().normalize_username(name) == name  # nothing is folded into another name


def test_names_that_differ_in_a_dot_are_two() -> None:
    names = ["ab", "a.b", "a-b", "a_b", "a..b", "ab.", "a" * 30, "a" * 31]
    assert [made().normalize_username(name) for name in names] == names
    assert all(made().validate_username(name) for name in names)


def test_allows_only_whom_the_gate_admitted() -> None:
    authenticator = made()
    assert not authenticator.check_allowed("amara", None)
    assert not authenticator.check_allowed("amara", {"name": "amara"})
    assert not authenticator.check_allowed("amara", {"name": "amara", "auth_state": {"username": "bruno"}})
    assert authenticator.check_allowed("amara", {"name": "amara", "auth_state": {"username": "amara"}})
    assert authenticator.is_admin(None, {"name": "amara"}) is False


def test_adds_the_handlers_of_the_module_that_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more_handlers_for_a_test.py").write_text(
        "def handlers_for(app):\n    return [('/daas/x', app)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = made(hub_handlers="more_handlers_for_a_test").get_handlers("the hub")
    assert [path for path, _ in found][:2] == ["/login", "/logout"]
    assert found[-1] == ("/daas/x", "the hub")
    assert str(found[-1][1]) == "the hub"


def test_each_trait_of_ours_explains_itself() -> None:
    own = DaasAuthenticator.class_own_traits(config=True)
    assert len(own) >= 10
    for name, trait in own.items():
        assert len(trait.help) > 40, name
        assert "versionadded" in trait.help, name
