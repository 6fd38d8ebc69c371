"""The spawner's configuration is checked as a whole when the hub starts: each mistake names its place."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import ConfigurationError
from jupyterhub_daas.spawners import DaasSpawner
from jupyterhub_daas.spawners.backends.local.backend import DESKTOP_SCRIPT, LocalBackend
from jupyterhub_daas.spawners.handlers import check_configuration
from jupyterhub_daas.spawners.refusals import STATUS, status_of
from tests.spawners.portal import small_settings

URLS = {name: f"http://127.0.0.1:1/services/{name}/" for name in ("proposals", "accounts", "quotas")}
ROOT = os.geteuid() == 0


def configuration(**changed: Any) -> Config:
    """Return a configuration that fits, with changes to the spawner's traits."""
    config = Config()
    traits = {
        "settings": Settings.parse(flavoured()),
        "service_urls": URLS,
        "service_token": "t",
        "hub_id": "h",
        "shared_account": not ROOT,
        "state_folder": "/nowhere",
    }
    for name, value in (traits | changed).items():
        setattr(config.DaasSpawner, name, value)
    return config


def flavoured() -> dict[str, Any]:
    """Return the small settings with the flavours that a whole file would have."""
    size = {"title": "Any", "cpus": 1, "memory": "1G"}
    return {**small_settings(), "flavours": {"small": size, "medium": size}}


def profile(**changed: Any) -> Settings:
    """Return settings whose one profile is changed."""
    content = flavoured()
    content["profiles"] = {"works": content["profiles"]["works"] | changed}
    return Settings.parse(content)


def test_a_good_configuration_fits() -> None:
    check_configuration(configuration())


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"settings": None}, "DaasSpawner.settings"),
        ({"hub_id": ""}, "DaasSpawner.hub_id"),
        ({"service_urls": {"proposals": "http://x/"}}, "DaasSpawner.service_urls"),
        ({"settings": profile(backend="moon")}, "DaasSpawner.backends.moon"),
        ({"backends": {"local": {"class": "nowhere.Backend"}}}, "DaasSpawner.backends.local"),
        ({"backends": {"local": {"class": "os.path:join"}}}, "DaasSpawner.backends.local"),
        ({"backends": {"local": {"grace_seconds": -1}}}, "DaasSpawner.backends.local"),
        ({"backends": {"local": {"home": "/srv"}}}, "DaasSpawner.backends.local"),
        ({"settings": profile(options={"command": []})}, "profiles.works.options"),
        ({"settings": profile(options={"image": "x"})}, "profiles.works.options"),
        ({"shared_account": ROOT}, "DaasSpawner.shared_account"),
        # No backend of ours can keep machines ready: a rule that has no effect is refused.
        (
            {"settings": Settings.parse({**flavoured(), "bank": {"works": {"idle": 1}}})},
            "bank.works",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_a_wrong_trait(changed: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_configuration(configuration(**changed))
    assert caught.value.field == place
    assert place in caught.value.message or "shared" in caught.value.message or "own" in caught.value.message


def test_refuses_a_kind_that_local_cannot_run() -> None:
    content = flavoured()
    content["environments"]["works"]["kind"] = "vm"
    content["profiles"] = {"works": {"environment": "works", "backend": "local", "flavours": ["small"]}}
    with pytest.raises(ConfigurationError, match="needs the command of a vm"):
        check_configuration(configuration(settings=Settings.parse(content)))


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("LocalSession", "pre_spawn_hook"),
        ("LocalProcessSpawner", "post_stop_hook"),
        ("LocalProcessSpawner", "group_overrides"),
        ("Spawner", "group_overrides"),
        ("DaasSpawner", "group_overrides"),
    ],
)
def test_refuses_what_would_silently_never_run(section: str, name: str) -> None:
    config = configuration()
    setattr(config[section], name, {"x": {}})
    with pytest.raises(ConfigurationError, match=f"{section}.{name}"):
        check_configuration(config)


@pytest.mark.parametrize("section", ["Spawner", "DaasSpawner"])
def test_allows_a_hook_that_runs(section: str) -> None:
    config = configuration()
    hook: Callable[[Any], None] = lambda spawner: None  # noqa: E731 - as people write it in a configuration
    config[section].pre_spawn_hook = hook
    check_configuration(config)


def test_a_demo_without_a_folder_for_homes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigurationError, match="homes"):
        LocalBackend(hub_id="h", shared_account=True, options={})


def test_an_ordinary_hub_cannot_run_other_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigurationError, match="Only a hub that runs as root"):
        LocalBackend(hub_id="h", shared_account=False, options={})


def test_the_desktops_script_can_be_run() -> None:
    assert os.access(DESKTOP_SCRIPT, os.X_OK)


def test_children_stand_before_parents_in_the_table_of_statuses() -> None:
    classes = list(STATUS)
    for place, cls in enumerate(classes):
        assert not any(issubclass(later, cls) for later in classes[place + 1 :]), cls
    assert status_of(ConfigurationError("x")) == 500


def test_each_trait_is_documented() -> None:
    for name, trait in DaasSpawner.class_own_traits(config=True).items():
        assert ".. versionadded::" in trait.help, name


def test_the_supervisor_is_found_beside_the_package() -> None:
    assert Path(DESKTOP_SCRIPT).with_name("launcher.py").exists()
