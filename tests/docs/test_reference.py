"""The generated reference holds everything that the code has."""

from typing import Any

import pytest
import yaml

from jupyterhub_daas import roles
from jupyterhub_daas.authenticators import DaasAuthenticator
from jupyterhub_daas.configure import BANK, SERVICES
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import error_classes
from jupyterhub_daas.services.application import openapi_text
from jupyterhub_daas.services.documentation import METHODS
from jupyterhub_daas.spawners import DaasSpawner
from jupyterhub_daas.spawners.backends.local.backend import LocalOptions, LocalProfileOptions

from .conftest import Built


@pytest.mark.parametrize("cls", [DaasAuthenticator, DaasSpawner])
def test_has_every_trait(built: Built, cls: Any) -> None:
    text = built.text("reference/traits.html")
    traits = cls.class_own_traits(config=True)
    assert len(traits) >= 5
    assert [name for name in traits if f"c.{cls.__name__}.{name}" not in text] == []


@pytest.mark.parametrize("service", [*SERVICES, BANK])
def test_has_every_operation(built: Built, service: str) -> None:
    text = built.text(f"reference/api/{service}.html")
    document = yaml.safe_load(openapi_text(service))
    operations = [
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]
    assert operations
    assert [each for each in operations if each not in text] == []


def test_has_every_error_code_with_advice(built: Built) -> None:
    reference, guide = built.text("reference/errors.html"), built.text("how-to/troubleshooting.html")
    for code, cls in error_classes().items():
        assert code in reference
        assert cls.__name__ in reference
        assert code in guide


def test_has_every_scope_and_who_carries_it(built: Built) -> None:
    text = built.text("reference/scopes.html")
    for scope, meaning in roles.SCOPES.items():
        assert text.count(scope) >= 2, f"{scope} is carried by nobody"
        assert meaning in text


def test_has_every_key_of_the_settings_file(built: Built) -> None:
    text = built.text("reference/settings.html")
    schema = Settings.model_json_schema()
    models = [schema, *(each for each in schema["$defs"].values() if "properties" in each)]
    for model in models:
        assert model["title"] in text
        for key in model["properties"]:
            assert key in text


def test_has_every_metric(built: Built) -> None:
    text = built.text("reference/metrics.html")
    names = ["daas_requests_total", "daas_request_seconds", "daas_quota_decisions_total"]
    assert [name for name in names if name not in text] == []


@pytest.mark.parametrize("model", [LocalOptions, LocalProfileOptions])
def test_has_every_option_of_the_local_backend(built: Built, model: Any) -> None:
    text = built.text("how-to/unix-accounts.html")
    assert model.model_fields
    assert [name for name in model.model_fields if name not in text] == []
