"""A machine's right to its session: one code, one process, one address, some minutes."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from jupyterhub_daas.errors import BackendUnavailableError, ConfigurationError, ConflictError, NotFoundError
from jupyterhub_daas.spawners.backends.machines import (
    Bootstrap,
    Ended,
    MachineOrder,
    Misuse,
    MisuseError,
    build_user_data,
    check_hub_url,
)
from jupyterhub_daas.spawners.backends.machines.alarms import MOST_ALARMS
from jupyterhub_daas.spawners.backends.machines.bootstrap import EndCall

SESSION, MINE, OTHER = "0123456789abcdef", "10.0.0.7", "10.0.0.8"
SECRET, FOREIGN = "a" * 64, "b" * 64
TOKEN = "the-session's-token"
ORDER = MachineOrder(
    username="amara",
    uid=2001,
    gid=2001,
    home="/home/amara",
    command=("jupyterhub-singleuser",),
    environment={"JUPYTERHUB_API_TOKEN": TOKEN},
    port=8888,
    prefix="/user/amara/brave-curie/",
    folder="proposals/20180301",
)


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """What was stored last, as the hub's database would have it."""

    def __init__(self) -> None:
        self.clock, self.state = Clock(), ""
        self.bootstrap = self._new()

    def _new(self) -> Bootstrap:
        return Bootstrap(SESSION, name="brave-curie", person="amara", keep=self._keep, clock=self.clock)

    def _keep(self) -> None:
        self.state = json.dumps(self.bootstrap.dump())

    def restart(self) -> Bootstrap:
        """Go on in another process with what was stored."""
        self.bootstrap = self._new()
        self.bootstrap.load(json.loads(self.state))
        return self.bootstrap


@pytest.fixture
def kept() -> Kept:
    """A hub's store."""
    return Kept()


@pytest.fixture
def code(kept: Kept) -> str:
    """The code of a machine whose address is known."""
    issued = kept.bootstrap.issue(ORDER, minutes=5)
    kept.bootstrap.expect([MINE])
    return issued


def misuse_of(call: Callable[[], object]) -> Misuse:
    """Return which alarm a call raises."""
    with pytest.raises(MisuseError) as caught:
        call()
    return caught.value.misuse


def test_a_machine_gets_its_session_with_its_code(kept: Kept, code: str) -> None:
    assert kept.bootstrap.redeem(code, SECRET, MINE) == ORDER.model_dump(mode="json")
    assert kept.bootstrap.fetched
    # The answer may have been lost: the same process may ask again, also later, and nobody else.
    kept.clock.now += 3600
    assert kept.bootstrap.redeem(code, SECRET, MINE)["username"] == "amara"


def test_a_second_use_is_an_alarm(kept: Kept, code: str) -> None:
    kept.bootstrap.redeem(code, SECRET, MINE)
    for address in (MINE, OTHER):
        assert misuse_of(lambda: kept.bootstrap.redeem(code, FOREIGN, address)) is Misuse.REPLAYED  # noqa: B023
    assert misuse_of(lambda: kept.bootstrap.redeem(code, SECRET, OTHER)) is Misuse.FOREIGN_ADDRESS


def test_another_address_gets_nothing_and_takes_nothing_away(kept: Kept, code: str) -> None:
    assert misuse_of(lambda: kept.bootstrap.redeem(code, FOREIGN, OTHER)) is Misuse.FOREIGN_ADDRESS
    assert not kept.bootstrap.fetched
    assert kept.bootstrap.redeem(code, SECRET, MINE)


def test_a_wrong_code_is_an_alarm(kept: Kept, code: str) -> None:
    for wrong in ("", code[:-1], FOREIGN):
        assert misuse_of(lambda: kept.bootstrap.redeem(wrong, SECRET, MINE)) is Misuse.WRONG_CODE  # noqa: B023


def test_a_code_is_good_for_minutes(kept: Kept, code: str) -> None:
    kept.clock.now += 5 * 60 + 1
    assert misuse_of(lambda: kept.bootstrap.redeem(code, SECRET, MINE)) is Misuse.LATE


def test_a_machine_whose_address_nobody_knows_yet_waits(kept: Kept) -> None:
    code = kept.bootstrap.issue(ORDER, minutes=5)
    with pytest.raises(BackendUnavailableError):
        kept.bootstrap.redeem(code, SECRET, MINE)
    kept.bootstrap.expect([MINE, "fd00::7"])
    assert kept.bootstrap.redeem(code, SECRET, "fd00::7")


def test_what_has_no_code_gets_nothing(kept: Kept) -> None:
    with pytest.raises(NotFoundError):
        kept.bootstrap.redeem("", SECRET, MINE)
    with pytest.raises(NotFoundError):
        kept.bootstrap.report("", 8888, MINE)


def test_all_of_it_survives_a_restart_of_the_hub(kept: Kept, code: str) -> None:
    assert kept.restart().redeem(code, SECRET, MINE)
    assert misuse_of(lambda: kept.restart().redeem(code, FOREIGN, MINE)) is Misuse.REPLAYED
    kept.restart().report(SECRET, 8888, MINE)
    assert kept.restart().port == 8888
    kept.bootstrap.end(SECRET, EndCall(ended=Ended.SERVER, status=3), MINE)
    assert kept.restart().ended == EndCall(ended=Ended.SERVER, status=3)


def test_nothing_secret_is_stored(kept: Kept, code: str) -> None:
    kept.bootstrap.redeem(code, SECRET, MINE)
    for secret in (code, SECRET, TOKEN, "amara"):
        assert secret not in kept.state


def test_only_the_machine_says_where_its_session_is(kept: Kept, code: str) -> None:
    for proof in (code, SECRET, FOREIGN, ""):
        with pytest.raises(NotFoundError):
            kept.bootstrap.report(proof, 8888, MINE)
    kept.bootstrap.redeem(code, SECRET, MINE)
    with pytest.raises(NotFoundError):
        kept.bootstrap.report(code, 8888, MINE)
    assert misuse_of(lambda: kept.bootstrap.report(SECRET, 8888, OTHER)) is Misuse.FOREIGN_ADDRESS
    assert misuse_of(lambda: kept.bootstrap.end(SECRET, EndCall(ended=Ended.SERVER), OTHER))
    assert kept.bootstrap.port == 0
    kept.bootstrap.report(SECRET, 8888, MINE)
    kept.bootstrap.report(SECRET, 8888, MINE)
    with pytest.raises(ConflictError):
        kept.bootstrap.report(SECRET, 8889, MINE)
    assert kept.bootstrap.port == 8888


def test_whoever_knows_a_code_cannot_fill_the_trail(kept: Kept, code: str) -> None:
    def fresh(address: str) -> bool:
        with pytest.raises(MisuseError) as caught:
            kept.bootstrap.redeem(code, SECRET, address)
        return caught.value.fresh

    assert fresh(OTHER)
    assert not fresh(OTHER)
    assert sum(fresh(f"10.1.0.{each}") for each in range(100)) == MOST_ALARMS - 1


def test_user_data_holds_no_session(kept: Kept, code: str) -> None:
    text = build_user_data(hub_url="https://daas.example/hub/", session_id=SESSION, code=code, ca="PEM")
    assert text.startswith("#cloud-config\n")
    config = json.loads(text.split("\n", 1)[1])
    (file,) = config["write_files"]
    assert file["permissions"] == "0600"
    assert json.loads(file["content"]) == {
        "url": f"https://daas.example/hub/daas/machines/{SESSION}/",
        "code": code,
        "ca": "PEM",
    }
    assert set(config) == {"write_files", "runcmd"}
    with pytest.raises(ConfigurationError):
        build_user_data(hub_url="https://daas.example/hub/", session_id=SESSION, code=code, ca="x" * 50_000)


URLS: dict[str, Any] = {
    "plain": "http://daas.example/hub/",
    "no hub": "https://daas.example/",
    "a question": "https://daas.example/hub/?x=/hub/",
    "no host": "https:///hub/",
    "another scheme": "ftp://daas.example/hub/",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS.keys())
def test_refuses_a_hub_without_tls(url: str) -> None:
    with pytest.raises(ConfigurationError):
        check_hub_url(url, "place")


@pytest.mark.parametrize("url", ["https://daas.example/x/hub/", "http://127.0.0.1:8000/hub/"])
def test_takes_a_hub(url: str) -> None:
    assert check_hub_url(url, "place") == url
