"""What all templates share."""

from datetime import datetime, timedelta, timezone

import pytest

from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.services.portal.assets import STATIC_PATH
from jupyterhub_daas.services.portal.look import Look


def look(**facility: object) -> Look:
    return Look.for_hub(Settings.parse({"facility": facility}))


def test_addresses_of_static_files_change_with_their_content() -> None:
    address = look().asset("daas.css")
    path, _, version = address.partition("?v=")
    assert path == "/hub/daas/static/daas.css"
    assert len(version) == 12
    assert version not in look().asset("frame.css")


def test_every_static_file_is_used_by_a_template_or_a_style() -> None:
    templates = STATIC_PATH.parent / "templates"
    text = "".join(path.read_text() for path in templates.rglob("*.html"))
    unused = [
        path.name for path in STATIC_PATH.iterdir() if path.name not in text and path.name != "mark.svg"
    ]
    assert unused == []


def test_the_logo_is_the_facility_s_own() -> None:
    assert look(logo="https://static.example/logo.svg").logo == "https://static.example/logo.svg"
    assert look(logo="https://static.example/logo.svg").logo_origin == "https://static.example"
    assert look(logo="/hub/logo").logo_origin == ""
    assert look().logo.startswith("/hub/daas/static/mark.svg?v=")


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(datetime(2026, 3, 1, 12, 30), id="without a zone, as the hub keeps it"),
        pytest.param(datetime(2026, 3, 1, 14, 30, tzinfo=timezone(timedelta(hours=2))), id="another zone"),
    ],
)
def test_times_are_exact_and_in_utc(moment: datetime) -> None:
    assert look().time(moment) == '<time datetime="2026-03-01T12:30:00Z">1 March 2026, 12:30 UTC</time>'


def test_a_time_that_is_not_there_is_a_word() -> None:
    assert look().time(None, "never") == "never"


def test_an_identifier_cannot_leave_its_place_in_an_address() -> None:
    assert look().proposal_url("../x?y") == "/services/portal/proposals/..%2Fx%3Fy"


def test_respects_the_base_url() -> None:
    found = Look.for_hub(Settings.parse({}), "/lab/")
    assert found.portal == "/lab/services/portal/"
    assert found.login == "/lab/hub/login?next=%2Flab%2Fservices%2Fportal%2Fproposals"
