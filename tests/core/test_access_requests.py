"""What may come in as a request for access: short texts that can be shown as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyterhub_daas.core.access_requests import MAX_MESSAGE, AskedAccess
from jupyterhub_daas.core.people import Identity

IDENTITY = Identity(issuer="https://op.example", subject="amara")


def asked(**given: str) -> AskedAccess:
    """Return a request with something changed."""
    plain = {"name": "Amara Okafor", "email": "amara@institute.example", "message": "Proposal 20180301."}
    return AskedAccess.model_validate({"identity": IDENTITY, **plain, **given})


def test_keeps_lines_and_letters_of_all_scripts() -> None:
    request = asked(name="  Zoë 김  ", message="One.\nTwo: ünïcode, 分析.\n")
    assert (request.name, request.message) == ("Zoë 김", "One.\nTwo: ünïcode, 分析.")
    assert asked(message="x" * MAX_MESSAGE).message == "x" * MAX_MESSAGE


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("name", ""),
        ("name", " \n "),
        ("name", "Amara\nAdmin"),
        ("name", "x" * 201),
        ("name", "amara\u202enimda"),
        ("email", "amara"),
        ("email", "a@b c"),
        ("email", "a@b\nBcc: all@facility.example"),
        ("email", "a@" + "b" * 254),
        ("message", "   "),
        ("message", "x" * (MAX_MESSAGE + 1)),
        ("message", "nul \x00"),
        ("message", "escape \x1b[2J"),
        ("message", "from right to left \u202e"),
        ("message", "half a character \ud800"),
        ("provider", "x" * 81),
        ("username", "Amara"),
        ("state", "accepted"),
    ],
)
def test_refuses_what_does_not_fit(field: str, text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        asked(**{field: text})
    assert refused.value.errors()[0]["loc"][0] == field


@given(st.text(max_size=300))
def test_what_is_kept_can_be_shown(text: str) -> None:
    try:
        kept = asked(message=text).message
    except ValidationError:
        return
    assert kept == text.strip()
    assert kept.replace("\n", "").isprintable()
    kept.encode()
