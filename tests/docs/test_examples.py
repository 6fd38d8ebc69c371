"""What the guides tell people to write is accepted by the code that reads it."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets.config import Config

from jupyterhub_daas import configure
from jupyterhub_daas.authenticators import DaasAuthenticator
from jupyterhub_daas.authenticators.announcing import HOOK_SECONDS
from jupyterhub_daas.authenticators.handlers import callback_path
from jupyterhub_daas.authenticators.settings import read_providers
from jupyterhub_daas.core.access_requests import AccessRequest, RequestState
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.core.quota import OverrideRequest
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.services.accounts.asking import AcceptRequest, DeclineRequest
from jupyterhub_daas.services.accounts.models import BlockRequest, LinkRequest, RoleRequest
from jupyterhub_daas.services.proposals.connectors.file import FileConnector
from jupyterhub_daas.services.proposals.roots import Roots
from jupyterhub_daas.spawners import DaasSpawner

from .conftest import DOCS, ROOT

_BLOCK = re.compile(
    r"^(?P<indent> *)```\{code-block\} \w+\n *:caption: (?P<name>\S+)\n\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
# In the order of the page.
IDENTITY_BODIES = (LinkRequest, LinkRequest, AcceptRequest, DeclineRequest)
CLASSES = (JupyterHub, ConfigurableHTTPProxy, DaasAuthenticator, DaasSpawner)
_BODY = re.compile(r"-d '(\{.*?\})'", re.DOTALL)


def blocks(name: str) -> Iterator[tuple[str, str]]:
    """Yield the examples of a file, with the page that each stands on."""
    for page in sorted(DOCS.rglob("*.md")):
        for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
            if found["name"] == name:
                indent = len(found["indent"])
                lines = [line[indent:] for line in found["text"].splitlines()]
                yield page.name, "\n".join(lines) + "\n"


def bodies(page: str) -> list[dict[str, object]]:
    """Return the JSON bodies of a page's examples."""
    text = (DOCS / "how-to" / page).read_text(encoding="utf-8")
    return [json.loads(body) for body in _BODY.findall(text)]


def merged(parts: list[str]) -> dict[str, object]:
    """Return examples of one file as the whole file."""
    whole: dict[str, object] = {}
    for part in parts:
        for key, value in yaml.safe_load(part).items():
            known = whole.get(key)
            whole[key] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    return whole


def test_the_settings_of_the_guide_are_accepted_as_one_file() -> None:
    parts = [text for _, text in blocks("daas.yaml")]
    assert len(parts) >= 6
    settings = Settings.parse(merged(parts))
    missing = set(Settings.model_fields) - settings.model_fields_set
    assert missing == set(), "a section has no example"


def test_the_facility_directory_of_the_guide_is_accepted(tmp_path: Path) -> None:
    (text,) = [text for _, text in blocks("facility.yaml")]
    file = tmp_path / "facility.yaml"
    file.write_text(text)
    snapshot = FileConnector(file, Roots([tmp_path / "roots"])).read()
    assert [len(snapshot.people), len(snapshot.instruments), len(snapshot.proposals)] == [3, 1, 1]
    assert snapshot.proposals[0].datasets


@pytest.mark.parametrize(("page", "text"), list(blocks("jupyterhub_config.py")))
def test_configuration_sets_traits_that_exist(page: str, text: str) -> None:
    classes = {cls.__name__: cls for cls in CLASSES}
    named = [
        (node.value.attr, node.attr)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and isinstance(node.value.value, ast.Name)
        and node.value.value.id == "c"
    ]
    assert named, page
    unknown = [name for cls, name in named if name not in classes[cls].class_trait_names(config=True)]
    assert unknown == []


@pytest.mark.parametrize("page", ["sign-in.md", "umbrella-id.md", "keycloak.md"])
def test_the_providers_of_the_guides_are_accepted(page: str, tmp_path: Path) -> None:
    for name in ("umbrella", "keycloak"):
        (tmp_path / f"{name}.secret").write_text("secret")
    (provider,) = read_providers(configured_by(page, tmp_path).DaasAuthenticator.providers).values()
    assert provider.settings.issuer.startswith("https://")
    callback = callback_path("/hub/", provider.settings.key)
    text = (DOCS / "how-to" / page).read_text(encoding="utf-8")
    assert callback.replace(f"/{provider.settings.key}/", "/<key>/") in text or callback in text


def configured_by(page: str, folder: Path) -> Config:
    """Return what the configuration on a page makes of an empty one, with its paths below a folder."""
    settings = (ROOT / "demo" / "daas.yaml").read_text(encoding="utf-8").replace("@STATE@", str(folder))
    (folder / "daas.yaml").write_text(settings)
    text = "".join(text for name, text in blocks("jupyterhub_config.py") if name == page)
    text = text.replace("/etc/daas/", f"{folder}/").replace("/var/lib/daas/", f"{folder}/state/")
    config = Config()
    names = {"c": config, "configure": configure.configure, "get_config": lambda: config}
    exec(compile(text, page, "exec"), names)
    return config


def test_the_configuration_of_the_guide_starts_all_services(tmp_path: Path) -> None:
    config = configured_by("install.md", tmp_path)
    started = {each["name"]: each for each in config.JupyterHub.services if "command" in each}
    assert sorted(started) == sorted(configure.SERVICES)
    database = started["quotas"]["environment"]["DAAS_DATABASE_URL"]
    assert database == "postgresql://daas@db.facility.example/daas"
    assert config.DaasAuthenticator.providers[0]["key"] == "umbrella"
    assert not config.DaasSpawner.get("shared_account", False)


def test_a_service_of_the_facility_takes_the_place_of_ours(tmp_path: Path) -> None:
    config = configured_by("own-services.md", tmp_path)
    started = {each["name"] for each in config.JupyterHub.services if "command" in each}
    assert started == set(configure.SERVICES) - {"proposals"}
    (own,) = [each for each in config.JupyterHub.services if each["name"] == "proposals"]
    address = config.DaasSpawner.service_urls["proposals"]
    assert (
        address == config.DaasAuthenticator.service_urls["proposals"] == f"{own['url']}/services/proposals/"
    )


class _Mail:
    """Take mails as smtplib's server would."""

    sent: ClassVar[list[Any]] = []

    def __init__(self, host: str, timeout: float) -> None:
        assert (host, timeout < HOOK_SECONDS) == ("mail.facility.example", True)

    def __enter__(self) -> "_Mail":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send_message(self, mail: Any) -> None:
        """Keep one."""
        self.sent.append(mail)


def test_the_hook_of_the_guide_writes_to_staff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtplib.SMTP", _Mail)
    hook = configured_by("identities.md", tmp_path).DaasAuthenticator.access_request_hook
    request = AccessRequest(
        id=17,
        identity=Identity(issuer="https://idp.example.org", subject="amara"),
        name="Amara",
        email="amara@institute.example",
        message="Please.",
        state=RequestState.PENDING,
        created_at=datetime(2026, 3, 1, tzinfo=timezone.utc),
    )
    hook(request)
    hook(request.model_copy(update={"state": RequestState.DECLINED}))
    assert [each["Subject"] for each in _Mail.sent] == ["Request for access 17"]


def test_the_requests_of_the_guides_fit_the_contract() -> None:
    (override,) = bodies("quotas.md")
    assert OverrideRequest.model_validate_json(json.dumps(override)).limits.machines == 40
    for body, model in zip(bodies("identities.md"), IDENTITY_BODIES, strict=True):
        model.model_validate_json(json.dumps(body))
    block, role = bodies("people.md")
    assert BlockRequest.model_validate(block).reason
    assert RoleRequest.model_validate_json(json.dumps(role)).instruments == ("id21",)
