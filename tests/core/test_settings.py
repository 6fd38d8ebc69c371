"""The settings file is validated whole, and every wrong place is named."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import ConfigurationError
from jupyterhub_daas.services.environment import read_settings

DEMO = Path(__file__).resolve().parents[2] / "demo" / "daas.yaml"


def demo() -> Any:
    return yaml.safe_load(DEMO.read_text())


def test_reads_the_file_of_the_demo() -> None:
    settings = read_settings(DEMO)
    assert settings.facility.name == "Example Light Source"
    assert settings.conditions.version == "2026-01"
    assert settings.flavours["small"].resources.memory == 3 * 1024**3
    assert settings.profiles["jupyter"].default_flavour == "small"
    assert settings.catalogue.environments["desktop"].key == "desktop"
    assert settings.roles["chiara"][0].role is Role.INSTRUMENT_SCIENTIST
    assert settings.roles["chiara"][0].instruments == ("id21",)


def test_an_empty_file_has_defaults() -> None:
    settings = Settings.parse(None)
    assert settings.conditions.version == "1"
    assert settings.lifecycle.interval_seconds == 30
    assert settings.lifecycle.grace_seconds == 30
    assert dict(settings.profiles) == {}


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        pytest.param(("nonsense",), 1, "nonsense", id="unknown part"),
        pytest.param(("facility", "colour"), "red", "facility.colour", id="unknown field"),
        pytest.param(("facility", "support"), "javascript:alert(1)", "facility.support", id="script link"),
        pytest.param(("conditions", "version"), "", "conditions.version", id="version is empty"),
        pytest.param(("flavours", "small", "memory"), "3X", "flavours.small.memory", id="unit"),
        pytest.param(("flavours", "small", "cpus"), -1, "flavours.small.cpus", id="negative"),
        pytest.param(("flavours", "small", "cpus"), float("inf"), "flavours.small.cpus", id="infinite"),
        pytest.param(("flavours", "Big One"), {"title": "B", "cpus": 1, "memory": 1}, "flavours", id="key"),
        pytest.param(("environments", "jupyter", "kind"), "vr", "environments.jupyter.kind", id="kind"),
        pytest.param(("profiles", "jupyter", "flavours"), ["huge"], "profiles.jupyter", id="flavour"),
        pytest.param(("profiles", "jupyter", "flavours"), [], "profiles.jupyter", id="no flavour"),
        pytest.param(("profiles", "jupyter", "environment"), "vm", "profiles.jupyter", id="environment"),
        pytest.param(("profiles", "jupyter", "roles"), ["king"], "profiles.jupyter.roles", id="role"),
        pytest.param(
            ("profiles", "jupyter", "default_flavour"), "huge", "default_flavour", id="default flavour"
        ),
        pytest.param(("quotas", "default_flavour"), "huge", "quotas.default_flavour", id="quota's flavour"),
        pytest.param(("quotas", "default", "machines"), 1.5, "quotas.default.machines", id="half a machine"),
        pytest.param(("lifetimes",), [{"lifetime_hours": -1}], "lifetimes.0.lifetime_hours", id="lifetime"),
        pytest.param(
            ("lifecycle", "interval_seconds"), 0, "lifecycle.interval_seconds", id="interval of nothing"
        ),
        pytest.param(("roles", "sofia"), [{"role": "king"}], "roles.sofia.0.role", id="role of a person"),
        pytest.param(
            ("roles", "sofia"),
            [{"role": "admin", "expires_at": "2026-12-31T12:00:00"}],
            "roles.sofia.0.expires_at",
            id="expiry without a time zone",
        ),
        pytest.param(("roles", "../x"), [{"role": "admin"}], "roles", id="username"),
    ],
)
def test_names_the_wrong_place(place: tuple[str, ...], value: object, named: str) -> None:
    content = demo()
    part = content
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    with pytest.raises(ConfigurationError) as caught:
        Settings.parse(content)
    assert named in caught.value.message
    assert caught.value.field is not None


def test_names_every_wrong_place_at_once() -> None:
    content = demo()
    content["flavours"]["small"]["cpus"] = "many"
    content["lifecycle"]["interval_seconds"] = -1
    with pytest.raises(ConfigurationError) as caught:
        Settings.parse(content)
    assert "flavours.small.cpus" in caught.value.message
    assert "lifecycle.interval_seconds" in caught.value.message


def test_does_not_repeat_what_stands_in_the_file() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.parse({"lifecycle": {"interval_seconds": "my-secret-word"}})
    assert "my-secret-word" not in caught.value.message


@pytest.mark.parametrize("content", ["text", 5, ["a"], {"flavours": ["a"]}, {"roles": {"sofia": "admin"}}])
def test_refuses_another_form(content: object) -> None:
    with pytest.raises(ConfigurationError):
        Settings.parse(content)


def test_an_expiry_is_a_moment() -> None:
    content = yaml.safe_load("roles: {sofia: [{role: admin, expires_at: 2026-12-31T12:00:00+01:00}]}")
    expiry = Settings.parse(content).roles["sofia"][0].expires_at
    assert expiry is not None
    assert expiry.isoformat() == "2026-12-31T11:00:00+00:00"


def test_names_a_file_that_is_missing_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: No such file"):
        read_settings(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\nb: 2")
    with pytest.raises(ConfigurationError, match=r"(?s)broken\.yaml.*line 2") as caught:
        read_settings(broken)
    assert caught.value.__cause__ is None
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"broken\.yaml"):
        read_settings(broken)
