"""How wrong passwords slow down whoever guesses."""

import pytest

from jupyterhub_daas.authenticators import attempts
from jupyterhub_daas.authenticators.attempts import AttemptLimit, Attempts
from jupyterhub_daas.errors import TooManyAttemptsError


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that a test moves."""
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Attempts:
    """Three failures per account and five per address, in a minute."""
    return Attempts(AttemptLimit(3, 60, clock=clock), AttemptLimit(5, 60, clock=clock))


def fail(limits: Attempts, account: str, address: str, times: int) -> None:
    """Guess wrong."""
    for _ in range(times):
        limits.check(account, address)
        limits.fail(account, address)


def test_slows_down_the_guesses_at_one_account(limits: Attempts, clock: Clock) -> None:
    fail(limits, "amara", "192.0.2.1", 3)
    with pytest.raises(TooManyAttemptsError) as refusal:
        limits.check("amara", "198.51.100.7")  # from wherever
    assert refusal.value.details["retry_after"] == 60
    assert "in 1 minute, or ask the facility's support" in refusal.value.message
    limits.check("bruno", "192.0.2.1")
    clock.now += 61
    limits.check("amara", "192.0.2.1")


def test_slows_down_one_address_that_tries_many_accounts(limits: Attempts) -> None:
    for number in range(5):
        fail(limits, f"person{number}", "192.0.2.1", 1)
    with pytest.raises(TooManyAttemptsError):
        limits.check("person9", "192.0.2.1")
    limits.check("person9", "192.0.2.2")


def test_the_right_password_frees_the_account_but_not_the_address(limits: Attempts) -> None:
    for _ in range(2):
        fail(limits, "amara", "192.0.2.1", 2)
        limits.succeed("amara")
    fail(limits, "mallory", "192.0.2.1", 1)
    limits.succeed("mallory")
    with pytest.raises(TooManyAttemptsError):
        limits.check("amara", "192.0.2.1")


def test_only_failures_count(limits: Attempts) -> None:
    for _ in range(100):
        limits.check("amara", "192.0.2.1")
        limits.succeed("amara")


def test_one_subscriber_of_ipv6_is_one_address(limits: Attempts) -> None:
    for number in range(5):
        fail(limits, f"person{number}", f"2001:db8:0:1::{number}", 1)
    with pytest.raises(TooManyAttemptsError):
        limits.check("person9", "2001:db8:0:1:ffff::1")
    limits.check("person9", "2001:db8:0:2::1")


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("unix", "unix"),
        ("x" * 999, "x" * 64),
    ],
)
def test_any_address_can_be_counted(address: str, counted: str) -> None:
    assert attempts.network(address) in (counted, f"::ffff:{counted}", "::ffff:c000:201")


def test_the_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "LARGEST_MEMORY", 10)
    limit = AttemptLimit(1, 60, clock=clock)
    for number in range(100):
        limit.fail(f"name{number}")
    assert limit.wait("name99") > 0
    assert limit.wait("name0") == 0


def test_staff_can_release_an_account(limits: Attempts) -> None:
    fail(limits, "amara", "192.0.2.1", 3)
    limits.per_account.release("amara")
    limits.check("amara", "192.0.2.1")
