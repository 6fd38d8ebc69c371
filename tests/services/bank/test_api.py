"""The bank as a process: its contract, who may ask, and what it counts."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from aiohttp import web
from hypothesis import HealthCheck, settings
from traitlets.config import Config

from jupyterhub_daas.configure import BANK, SERVICES, configure
from jupyterhub_daas.services.application import openapi_text
from tests.support.lone_service import LoneService
from tests.support.threaded_server import ThreadedServer

schema = schemathesis.openapi.from_file(openapi_text("bank"))

ACCESS, WRITE = "access:services!service=bank", "custom:daas:bank:write"
SETTINGS = {
    "environments": {"vm": {"title": "VM", "kind": "vm"}},
    "flavours": {"small": {"title": "Small", "cpus": 1, "memory": "1G"}},
    "profiles": {"vm": {"environment": "vm", "backend": "openstack", "flavours": ["small"]}},
    "bank": {"vm": {"idle": 2, "per_minute": 100}},
}
PLACE = {"hub": "first", "profile": "vm", "image": "sha256:1"}


class SmallHub(ThreadedServer):
    """Know two tokens: of a hub, and of a person."""

    def application(self) -> web.Application:
        """Serve the one route that a service needs."""
        application = web.Application()
        application.router.add_get("/hub/api/user", self._user)
        return application

    async def _user(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("token ")
        known = {
            "hub": {"name": "daas-hub", "kind": "service", "scopes": [ACCESS, WRITE]},
            "person": {"name": "amara", "kind": "user", "scopes": [ACCESS]},
        }
        return web.json_response(known.get(token), status=200 if token in known else 403)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneService]:
    """The service."""
    hub = SmallHub().start()
    service = LoneService(
        "bank",
        tmp_path_factory.mktemp("bank"),
        hub_api_url=f"http://127.0.0.1:{hub.port}/hub/api",
        settings=SETTINGS,
    )
    try:
        yield service.start()
    finally:
        service.end()
        hub.close()


def ask(bank: LoneService, method: str, path: str, token: str = "hub", **given: Any) -> requests.Response:
    """Ask as a hub."""
    return bank.call(method, path, token=token, **given)


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_keeps_its_contract(case: schemathesis.Case, bank: LoneService) -> None:
    sent = {"base_url": bank.url + "api/v1", "headers": {"Authorization": "Bearer hub"}}
    response = case.call(**sent)
    # A schema can't say which profiles the bank has rules for.
    unknown = response.status_code == 400 and response.json()["error"]["code"] == "unknown_profile"
    excluded = [schemathesis.checks.positive_data_acceptance] if unknown else []
    case.validate_response(response, headers=sent["headers"], excluded_checks=excluded, transport_kwargs=sent)


def test_a_machine_lives_once(bank: LoneService) -> None:
    place = {**PLACE, "hub": "a-life"}
    made = ask(bank, "POST", "tend", json=place).json()["made"]
    assert [each["state"] for each in made] == ["building"] * 2
    session = secrets.token_hex(8)
    asked = {"place": place, "session_id": session}
    assert ask(bank, "POST", "claims", json=asked).json() == {"machine": None, "fresh": False}
    for each in made:
        answer = ask(bank, "PATCH", f"machines/{each['machine_id']}", json={"state": "idle"})
        assert answer.json()["state"] == "idle"
    claim = ask(bank, "POST", "claims", json=asked).json()
    assert claim["fresh"]
    assert ask(bank, "POST", "claims", json=asked).json() == {**claim, "fresh": False}
    path = f"machines/{claim['machine']['machine_id']}"
    assert ask(bank, "DELETE", path).status_code == 409
    assert ask(bank, "PATCH", path, json={"state": "ending"}).json()["state"] == "ending"
    assert ask(bank, "DELETE", path).status_code == 204
    assert ask(bank, "DELETE", path).status_code == 204
    left = ask(bank, "GET", "hubs/a-life/machines").json()["items"]
    assert [each["state"] for each in left] == ["idle"]
    assert len(ask(bank, "POST", "tend", json=place).json()["made"]) == 1


def test_counts_claims_misses_and_the_time_saved(bank: LoneService) -> None:
    shown = requests.get(bank.url + "metrics", timeout=30).text
    for wanted in (
        'daas_bank_claims_total{profile="vm"}',
        'daas_bank_misses_total{profile="vm"}',
        'daas_bank_saved_seconds_total{profile="vm"}',
        'daas_bank_machines{profile="vm",state="idle"}',
    ):
        assert wanted in shown


CALLS: dict[str, tuple[str, str, Any]] = {
    "list": ("GET", "hubs/first/machines", None),
    "tend": ("POST", "tend", PLACE),
    "claim": ("POST", "claims", {"place": PLACE, "session_id": "0" * 16}),
    "change": ("PATCH", f"machines/{'0' * 16}", {"state": "ending"}),
    "forget": ("DELETE", f"machines/{'0' * 16}", None),
}


@pytest.mark.parametrize(("method", "path", "body"), CALLS.values(), ids=CALLS.keys())
def test_is_for_hubs_only(bank: LoneService, method: str, path: str, body: Any) -> None:
    assert ask(bank, method, path, token="person", json=body).status_code == 404
    assert ask(bank, method, path, token="nobody", json=body).status_code == 401
    assert bank.call(method, path, json=body).status_code == 401


@pytest.mark.parametrize("rules", [SETTINGS["bank"], {}])
def test_is_started_where_machines_are_kept(tmp_path: Path, rules: dict[str, Any]) -> None:
    (tmp_path / "daas.yaml").write_text(yaml.safe_dump({**SETTINGS, "bank": rules}))
    config = Config()
    configure(config, tmp_path / "daas.yaml")
    started = {each["name"] for each in config.JupyterHub.services if "command" in each}
    assert started == {*SERVICES, *([BANK] if rules else [])}
    (role,) = (each for each in config.JupyterHub.load_roles if each["name"] == "daas-service-hub")
    assert ("access:services!service=bank" in role["scopes"]) == bool(rules)


def test_a_rule_for_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    service = LoneService("bank", tmp_path, settings={**SETTINGS, "bank": {"missing": {"idle": 1}}})
    service.launch()
    assert service.process is not None
    assert service.process.wait(120) == 1
    assert "bank.missing: no profile 'missing'" in service.log()
