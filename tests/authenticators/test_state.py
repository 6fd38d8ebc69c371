"""The state of a sign-in: bound to its id, and used up once."""

import json

import pytest

from jupyterhub_daas.authenticators.openid import state
from jupyterhub_daas.authenticators.openid.state import (
    LIFETIME,
    SignInState,
    UsedStates,
    from_cookie,
    new_state,
)

GOOD = SignInState("the-id", "the-verifier", "/hub/home")


def test_a_cookie_gives_back_what_it_was_made_of() -> None:
    assert from_cookie(GOOD.to_cookie(), "the-id") == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "null",
        json.dumps({"state_id": "the-id"}),
        json.dumps({**GOOD._asdict(), "more": 1}),
        json.dumps({**GOOD._asdict(), "verifier": 7}),
    ],
)
def test_refuses_a_cookie_that_is_none_of_ours(text: str) -> None:
    assert from_cookie(text, "the-id") is None


@pytest.mark.parametrize("state_id", ["", "the-i", "the-id2", "THE-ID", "thé-id"])
def test_refuses_a_cookie_of_another_sign_in(state_id: str) -> None:
    assert from_cookie(GOOD.to_cookie(), state_id) is None


def test_nothing_of_a_sign_in_tells_another_part_of_it() -> None:
    first, second = new_state("/"), new_state("/")
    parts = [first.state_id, first.verifier, first.nonce, first.challenge, first.cookie_name]
    assert len({*parts, second.state_id, second.verifier, second.nonce}) == 8
    assert not any(one in other for one in parts for other in parts if one is not other)


def test_the_challenge_is_the_one_of_the_standard() -> None:
    # RFC 7636, appendix B.
    example = SignInState("id", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "/")
    assert example.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_state_is_used_up_for_as_long_as_its_cookie_could_be_shown() -> None:
    now = 0.0
    used = UsedStates(clock=lambda: now)
    assert used.use("one")
    assert not used.use("one")
    assert used.use("two")
    now = LIFETIME + 1
    assert used.use("one")


def test_the_memory_of_used_states_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LARGEST_MEMORY", 3)
    used = UsedStates(clock=lambda: 0.0)
    assert all(used.use(str(number)) for number in range(10))
    assert not used.use("9")
    assert used.use("0")
