"""The shared life of front spawner and child: what is unknown is not stopped, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.spawner import Spawner, SpawnException
from traitlets import Any as AnyTrait

from jupyterhub_daas.errors import BackendUnavailableError, ConfigurationError, SessionLostError
from jupyterhub_daas.spawners.delegation import DelegatingSpawner
from jupyterhub_daas.spawners.records import read_record

RUNNING = {
    "v": 1,
    "running": True,
    "ran": True,
    "session_id": "0123456789abcdef",
    "backend": "fake",
    "profile": "gone",
    "child": {"volume": "claim-7", "pid": 12},
}


class Child(Spawner):  # type: ignore[misc]
    """A child whose answers a test chooses."""

    answer = AnyTrait()
    volume = ""
    pid = 0
    deleted = False

    async def start(self) -> str:
        return "http://127.0.0.1:1"

    async def stop(self, now: bool = False) -> None:
        if isinstance(self.answer, Exception):
            raise self.answer

    async def poll(self) -> int | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        found: int | None = self.answer
        return found

    def load_state(self, state: dict[str, Any]) -> None:
        self.volume, self.pid = state.get("volume", ""), state.get("pid", 0)

    def get_state(self) -> dict[str, Any]:
        return {"volume": self.volume} | ({"pid": self.pid} if self.pid else {})

    def clear_state(self) -> None:
        self.pid = 0

    async def delete_forever(self) -> None:
        self.deleted = True

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        yield {"progress": 60, "message": "Waiting for a machine"}


class FakeBackend:
    """Return the same child for each session."""

    def __init__(self) -> None:
        self.child = Child()

    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> Child:
        return self.child


class Front(DelegatingSpawner):
    """The front spawner with one fake backend."""

    def __init__(self, **given: Any) -> None:
        self.fake: Any = {"fake": FakeBackend()}
        super().__init__(user=SimpleNamespace(name="amara"), **given)

    def known_backends(self) -> Any:
        if isinstance(self.fake, Exception):
            raise self.fake
        return self.fake


def restored(state: object = RUNNING, *, fake: Any = None) -> Front:
    """Return a front spawner as a hub that starts again builds it."""
    outer = Front()
    if fake is not None:
        outer.fake = fake
    outer.load_state(state)  # type: ignore[arg-type]
    return outer


async def test_a_session_that_never_was_has_ended() -> None:
    assert await restored({}).poll() == 0


@pytest.mark.parametrize("answer", [None, 0, 7])
async def test_a_restored_session_is_what_the_backend_says(answer: int | None) -> None:
    outer = restored()
    outer.fake["fake"].child.answer = answer
    assert await outer.poll() == answer


@pytest.mark.parametrize("error", [BackendUnavailableError("away"), OSError("refused"), KeyError("x")])
async def test_a_poll_that_fails_means_unknown(error: Exception) -> None:
    outer = restored()
    outer.fake["fake"].child.answer = error
    assert await outer.poll() is None


@pytest.mark.parametrize(
    "fake", [{}, ConfigurationError("wrong"), RuntimeError("worse")], ids=["gone", "misconfigured", "broken"]
)
async def test_a_session_whose_backend_is_not_there_counts_as_running(fake: Any) -> None:
    outer = restored(fake=fake)
    assert await outer.poll() is None
    assert outer.get_state()["session_id"] == RUNNING["session_id"]
    # It is found again when the backend is back.
    outer.fake = {"fake": FakeBackend()}
    outer.fake["fake"].child.answer = 0
    assert await outer.poll() == 0


@pytest.mark.parametrize(
    ("state", "running"),
    [
        ({}, False),
        ({"v": 1, "running": False}, False),
        ({"pid": 4711}, True),
        ({"v": 2, "running": True, "shape": "unknown"}, True),
        ({"v": 2}, False),
        ({"v": 1, "running": True, "child": "not a mapping"}, True),
        ({"v": 1, "running": True, "session_id": "0123456789abcdef", "backend": "fake", "new": 1}, True),
        ([], False),
        (None, False),
    ],
    ids=str,
)
async def test_old_and_unknown_states_load(state: object, running: bool) -> None:
    outer = restored(state)
    outer.fake["fake"].child.answer = None
    assert (await outer.poll() is None) == running
    assert read_record(outer.get_state()).running == running


def test_a_stop_keeps_what_the_backend_keeps() -> None:
    outer = restored()
    outer.clear_state()
    assert outer.child is None
    assert outer.get_state()["child"] == {"volume": "claim-7"}
    assert not outer.get_state()["running"]


async def test_deleting_a_session_reaches_its_backend_after_a_stop() -> None:
    outer = restored({**RUNNING, "running": False})
    await outer.delete_forever()
    assert outer.fake["fake"].child.deleted
    assert outer.fake["fake"].child.volume == "claim-7"


async def test_deleting_a_session_that_never_ran_asks_no_backend() -> None:
    outer = restored({}, fake=RuntimeError("asked"))
    await outer.delete_forever()


async def test_a_stop_that_fails_is_told() -> None:
    outer = restored()
    outer.fake["fake"].child.answer = BackendUnavailableError("away")
    with pytest.raises(BackendUnavailableError):
        await outer.stop()
    with pytest.raises(BackendUnavailableError, match="not configured"):
        await restored(fake={}).stop()


async def test_a_start_without_a_child_is_refused() -> None:
    with pytest.raises(SessionLostError):
        await Front().start()


async def test_refuses_a_rename() -> None:
    with pytest.raises(SpawnException) as caught:
        await Front().rename("brave-curie", "mine")
    assert caught.value.status_code == 409


class Slow(Child):
    """A child whose start goes on until it may end, and when cancelled until it has cleaned up."""

    def __init__(self, **given: Any) -> None:
        self.begun, self.may_end, self.clean = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.stops = 0
        super().__init__(**given)

    async def start(self) -> str:
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            await self.clean.wait()
            raise
        return "http://127.0.0.1:1"

    async def stop(self, now: bool = False) -> None:
        self.stops += 1


async def test_a_poll_during_the_start_says_that_it_goes_on() -> None:
    outer, child = Front(), Slow(answer=0)
    outer.adopt(child)
    task = asyncio.ensure_future(outer.start())
    await child.begun.wait()
    assert await outer.poll() is None
    child.may_end.set()
    await task


async def cancelled(child: Slow) -> Front:
    """Return a front spawner whose start was cancelled; the child has not cleaned up yet."""
    outer = Front()
    outer.adopt(child)
    task = asyncio.ensure_future(outer.start())
    await child.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return outer


async def test_a_cancelled_start_is_over_at_once_and_unknown_until_it_is_clean() -> None:
    outer = await cancelled(child := Slow(answer=0))
    assert await outer.poll() is None
    stopping = asyncio.ensure_future(outer.stop())
    child.clean.set()
    await stopping
    assert child.stops == 1
    assert await outer.poll() == 0


async def test_what_is_left_of_a_cancelled_start_is_no_session_that_ran() -> None:
    outer = await cancelled(child := Slow(answer=None))
    child.clean.set()
    await asyncio.sleep(0)
    outer.record.session_id, outer.record.running = "0123456789abcdef", True
    assert await outer.poll() is None
    assert not outer.record.ran
    child.may_end.set()
    await outer.start()
    assert await outer.poll() is None
    assert outer.record.ran


async def test_a_start_that_is_late_is_over_at_once_too() -> None:
    outer, child = Front(), Slow(answer=0, start_timeout=0)
    outer.adopt(child)
    with pytest.raises(asyncio.TimeoutError):
        await outer.start()
    assert await outer.poll() is None
    child.clean.set()
    await outer.stop()
    outer.clear_state()
    assert await outer.poll() == 0


class Broken(Child):
    """A child that cannot start, and of which something is left."""

    async def start(self) -> str:
        raise SessionLostError("It ended while it was starting.")


async def failed() -> Front:
    """Return a front spawner whose start failed; the hub has begun to tidy up."""
    outer = Front()
    outer.adopt(Broken())
    outer.record.session_id, outer.record.running = "0123456789abcdef", True
    with pytest.raises(SessionLostError):
        await outer.start()
    assert await outer.poll() is None
    return outer


async def test_who_asks_after_a_failed_start_is_answered_when_it_is_tidied_up() -> None:
    outer = await failed()
    asking = asyncio.ensure_future(outer.poll())
    await outer.stop()
    assert not asking.done()
    outer.clear_state()
    assert await asking == 1
    # The next start of the same name has nothing to do with it.
    outer.adopt(child := Child(answer=None))
    outer.record.running = True
    await outer.start()
    assert await outer.poll() is None
    assert outer.child is child


async def test_a_failed_start_that_is_not_tidied_up_in_time_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jupyterhub_daas.spawners.delegation.TIDY_SECONDS", 0.01)
    assert await (await failed()).poll() is None


async def test_what_is_left_of_a_failed_start_is_no_session_that_ran() -> None:
    assert not (await failed()).record.ran


async def test_a_cancelled_start_that_does_not_end_is_stopped_all_the_same_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jupyterhub_daas.spawners.delegation.PATIENCE_SECONDS", (0.01, 0.01))
    outer = await cancelled(child := Slow())
    with pytest.raises(BackendUnavailableError, match="does not end"):
        await outer.stop()
    assert child.stops == 2
    child.clean.set()
    await outer.stop()


async def test_progress_tells_our_words_the_childs_and_ours_again() -> None:
    outer, told = Front(orm_spawner=SimpleNamespace(server=None, name="brave-curie")), []
    outer._spawn_pending = True
    going, ready = asyncio.Event(), asyncio.Event()

    class Slow(Child):
        async def start(self) -> str:
            await going.wait()
            return "http://127.0.0.1:1"

    async def read() -> None:
        async for event in outer.progress():
            told.append(event["message"])
            if event["message"] == "Waiting for a machine":
                going.set()
            if event["message"] == "Waiting for JupyterLab to answer":
                ready.set()

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    outer.tell(15, "Checking your quota")
    outer.adopt(Slow())
    await outer.start()
    outer.tell(85, "Waiting for JupyterLab to answer")
    await ready.wait()
    outer._spawn_pending = False
    outer.tell(100, "")
    await reading
    assert told[:3] == ["Checking your quota", "Waiting for a machine", "Waiting for JupyterLab to answer"]


async def test_progress_that_breaks_off_is_no_failure() -> None:
    class Broken(Child):
        async def progress(self) -> AsyncIterator[dict[str, Any]]:
            yield {"message": "one"}
            raise RuntimeError("no more words")

    outer = Front(orm_spawner=SimpleNamespace(server=None, name="brave-curie"))
    outer.adopt(Broken())
    outer._spawn_pending = True
    assert await outer.start() == "http://127.0.0.1:1"
    told = []
    async for event in outer.progress():
        told.append(event["message"])
        outer._spawn_pending = False
    assert told == ["one"]


async def test_the_events_of_a_start_are_kept_with_their_moments_and_bounded() -> None:
    outer = Front(orm_spawner=SimpleNamespace(server=None, name="brave-curie"))
    for number in range(200):
        outer.tell(20, f"Waiting: {number}")
    kept = read_record(outer.get_state()).events
    assert [event["message"] for event in kept] == [f"Waiting: {number}" for number in range(150, 200)]
    assert all(event["time"] for event in kept)


async def test_a_child_cannot_say_that_a_session_is_ready() -> None:
    class Bold(Child):
        async def progress(self) -> AsyncIterator[dict[str, Any]]:
            yield {"message": "in!", "ready": True, "url": "https://elsewhere.example"}
            yield {"message": "two"}

    outer = Front(orm_spawner=SimpleNamespace(server=None, name="brave-curie"))
    await outer._relay(Bold())
    assert [event["message"] for event in outer._events] == ["two"]


async def test_what_waits_has_begun_nothing() -> None:
    outer = Front()
    outer.load_state({**RUNNING, "waiting": True})
    assert outer.child is None
    assert await outer.poll() == 0
