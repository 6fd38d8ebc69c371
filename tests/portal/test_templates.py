"""The hub's pages in our frame: what the hub's own templates count on must stay."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from jinja2 import ChoiceLoader, FileSystemLoader, PrefixLoader
from jinja2 import Environment as Templates
from jinja2.nodes import Block

from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.services.portal.look import TEMPLATE_PATH, Look

HUB = Path(sys.prefix) / "share" / "jupyterhub" / "templates"
SHARED: dict[str, Any] = {
    "base_url": "/hub/",
    "prefix": "/",
    "user": None,
    "logout_url": "/hub/logout",
    "login_url": "/hub/login",
    "static_url": lambda path, **_: f"/hub/static/{path}",
    "version_hash": "",
    "parsed_scopes": {},
    "xsrf": "token",
    "xsrf_token": "token",
}


def hub_templates() -> Templates:
    """As the hub loads them: ours before its own, and its own again under a prefix."""
    own = PrefixLoader({"templates": FileSystemLoader(HUB)})
    loader = ChoiceLoader([own, FileSystemLoader([TEMPLATE_PATH, HUB])])
    return Templates(loader=loader, autoescape=True)


def render(template: str, **values: Any) -> str:
    facility = {"portal": "Analysis <b>portal</b>", "support": "mailto:help@facility.example"}
    daas = Look.for_hub(Settings.parse({"facility": facility}))
    return hub_templates().get_template(template).render({**SHARED, "daas": daas, **values})


def blocks(path: Path) -> set[str]:
    return {node.name for node in hub_templates().parse(path.read_text()).find_all(Block)}


def test_our_page_has_every_block_of_the_hub_s_page() -> None:
    assert blocks(HUB / "page.html") - blocks(TEMPLATE_PATH / "page.html") == set()


def test_our_page_tells_the_hub_s_scripts_what_they_ask_for() -> None:
    asked = {
        name
        for path in (HUB.parent / "static" / "js").glob("[!a]*.js")
        for name in re.findall(r"jhdata\.(\w+)", path.read_text())
    }
    given = (TEMPLATE_PATH / "page.html").read_text()
    assert {name for name in asked if f"{name}:" not in given} == set()


@pytest.mark.parametrize("name", ["token.html"])
def test_keeps_what_the_hub_s_scripts_work_on(name: str) -> None:
    script = (HUB.parent / "static" / "js" / name.replace("html", "js")).read_text()
    ours = (TEMPLATE_PATH / name).read_text()
    found = set(re.findall(r'\$\("[#.]([\w-]+)"\)', script))
    assert found
    assert {each for each in found if each not in ours} == set()


@pytest.mark.parametrize("status", [403, 404, 409, 500, 503])
def test_the_error_page_escapes_what_it_was_told(status: int) -> None:
    page = render(
        "error.html",
        status_code=status,
        status_message="<i>reason</i>",
        message="<script>alert(1)</script>",
        message_html="<script>alert(2)</script>",
    )
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<i>reason" not in page


def test_the_name_of_the_portal_is_escaped() -> None:
    assert "Analysis &lt;b&gt;portal" in render("logout.html")


@pytest.mark.parametrize("name", ["logout.html", "error.html", "404.html"])
def test_pages_of_ours_load_nothing_of_bootstrap(name: str) -> None:
    page = render(name, status_code=404, status_message="Not Found", message="")
    assert "bootstrap" not in page
    assert "/hub/daas/static/daas.css" in page


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in TEMPLATE_PATH.rglob("*.html"):
        assert not re.search(r'(?:src|href)="(?:https?:)?//', path.read_text()), path
