"""A cancelled start ends by itself, at whatever step and however slow its backend; nothing is left of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.spawners.halts import HALTS, STARTING, halt, names_of, wait_halted
from tests.spawners.portal import PROPOSAL, Portal, quiet_log, rows, small_settings
from tests.support.stack import Stack
from tests.support.waiting import wait_until

NAME = "brave-curie"
SLOW = {"proposal": PROPOSAL, "environment": "slow"}
# The hub's own end of a cancelled start fails while the file `deaf` is there. With the file `busy`, the loop
# is busy, right after a start was cancelled, for longer than the hub gives that.
EXTRA = """
c.DaasSpawner.backends = {{"local": {{"class": "tests.spawners.slow_backend.SlowBackend"}}}}
from jupyterhub.apihandlers.users import UserServerAPIHandler

stop_single_user = UserServerAPIHandler.stop_single_user

async def stop(self, user, server_name=""):
    if Path("deaf").exists():
        raise RuntimeError("deaf")
    return await stop_single_user(self, user, server_name)

UserServerAPIHandler.stop_single_user = stop

import asyncio
import time

delete = UserServerAPIHandler.delete

async def delete_while_busy(self, *given):
    deleting = asyncio.ensure_future(delete(self, *given))
    if Path("busy").exists():
        asyncio.get_running_loop().call_soon(time.sleep, 1.5)
    return await deleting

UserServerAPIHandler.delete = delete_while_busy
"""


@pytest.fixture(scope="module")
def slow_portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal whose backend may be slow to cancel a start, and whose starts can be held at each step."""
    folder = tmp_path_factory.mktemp("cancelled")
    stack = Stack(folder, settings=small_settings(), extra=(HALTS + EXTRA).format(folder=str(folder)))
    try:
        yield Portal(stack.start())
    finally:
        stack.stop()


@pytest.fixture
def portal(slow_portal: Portal) -> Iterator[Portal]:
    """The portal without any session, halt or slowness."""
    yield slow_portal
    for name in ("halts.json", "deaf", "busy", f"slow-{NAME}", f"cancelled-{NAME}"):
        (slow_portal.stack.folder / name).unlink(missing_ok=True)
    slow_portal.clean()


def nothing_is_left(portal: Portal) -> bool:
    """Tell whether no row, no reservation and no process is there."""
    return not (portal.names() or rows(portal) or portal.held() or portal.living())


def test_a_start_cancelled_at_any_step_leaves_nothing(portal: Portal) -> None:
    halts = names_of(STARTING)
    folder = portal.stack.folder
    halt(folder, halts)
    with ThreadPoolExecutor(2 * len(halts)) as pool, quiet_log(portal.stack):
        starts = {step: pool.submit(portal.start, name) for name, step in halts.items()}
        wait_halted(folder, halts)
        stops = {step: pool.submit(portal.stop, name, remove=True) for name, step in halts.items()}
        # 201 and 202: the hub did not wait for the start any more.
        odd = {
            step: start.result(60).text for step, start in starts.items() if start.result().status_code > 409
        }
        assert odd == {}
        odd = {step: stop.result(60).text for step, stop in stops.items() if stop.result().status_code > 204}
        assert odd == {}
        wait_until(lambda: nothing_is_left(portal), 30, what="nothing is left")
    (folder / "halts.json").unlink()
    # The names can be used at once.
    name = next(iter(halts))
    assert portal.start(name).status_code == 201
    assert portal.run(name, "echo works") == "works\n"


def test_who_waits_for_a_start_that_is_cancelled_is_told(portal: Portal) -> None:
    folder = portal.stack.folder
    halt(folder, {NAME: "before the gate"})
    with ThreadPoolExecutor(1) as pool, quiet_log(portal.stack):
        starting = pool.submit(portal.start, NAME)
        wait_halted(folder, {NAME: ""})
        portal.stop(NAME, remove=True)
        assert starting.result(60).status_code == 409
        assert "stopped before it had started" in starting.result().json()["message"]


@pytest.mark.parametrize("remove", [False, True], ids=["stopped", "deleted"])
def test_a_start_that_is_slow_to_cancel_is_being_stopped_until_it_has(portal: Portal, remove: bool) -> None:
    slow = portal.stack.folder / f"slow-{NAME}"
    slow.touch()
    assert portal.start(NAME, SLOW).status_code == 202
    with quiet_log(portal.stack), ThreadPoolExecutor(1) as pool:
        asked = {"json": {"remove": remove}}
        answer = pool.submit(portal.stack.admin, "DELETE", f"/users/amara/servers/{NAME}", **asked)
        wait_until((portal.stack.folder / f"cancelled-{NAME}").exists, 30)
        wait_until(lambda: portal.model(NAME)["pending"] == "stop", 30)
        assert portal.start(NAME).status_code == 400
        assert portal.held()
        # Longer than the hub waits for it.
        assert answer.result(60).status_code == 202
        assert portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}").status_code == 202
        slow.unlink()
        wait_until(lambda: nothing_is_left(portal), 30, what="nothing is left")
    assert portal.start(NAME).status_code == 201
    assert portal.run(NAME, "echo works") == "works\n"


def test_a_hub_that_is_busy_stops_a_starting_session_all_the_same(portal: Portal) -> None:
    (portal.stack.folder / "busy").touch()
    assert portal.start(NAME, SLOW).status_code == 202
    with quiet_log(portal.stack):
        answer = portal.stop(NAME, remove=True)
        assert (answer.status_code, answer.text) == (204, "")
    assert nothing_is_left(portal)


def test_a_cancelled_start_ends_although_the_hub_does_not_end_it(portal: Portal) -> None:
    (portal.stack.folder / "deaf").touch()
    assert portal.start(NAME, SLOW).status_code == 202
    assert portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}").status_code == 500
    wait_until(lambda: nothing_is_left(portal), 30, what="nothing is left")
    assert portal.start(NAME).status_code == 201
