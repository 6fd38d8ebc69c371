"""One question to the scheduler for all sessions, and none of its faults is taken for an end."""

import asyncio
import math
import signal
import time
from collections.abc import Mapping

import pytest

from jupyterhub_daas.errors import BackendUnavailableError
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, Phase
from jupyterhub_daas.spawners.backends.batch.transport import Transport
from jupyterhub_daas.spawners.backends.batch.watch import Watch

DISTANCE = 0.05


class Counting(Transport):
    """A scheduler that counts its questions, and is away at will."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.away = False
        self.begun = asyncio.Event()

    async def submit(self, request: JobRequest) -> str:
        """Take nothing."""
        raise AssertionError

    async def cancel(self, job: Job) -> None:
        """Cancel nothing."""
        raise AssertionError

    async def jobs(self) -> Mapping[str, Job]:
        """Answer after a moment."""
        self.asked.append(time.monotonic())
        self.begun.set()
        await asyncio.sleep(0)
        if self.away:
            raise BackendUnavailableError("The cluster does not answer.")
        return {"5" * 16: Job("1", "5" * 16, "amara", Phase.RUNNING, "RUNNING")}


def test_fifty_sessions_ask_one_question() -> None:
    async def main() -> None:
        transport = Counting()
        watch = Watch(transport, DISTANCE)
        answers = await asyncio.gather(*(watch.look(age=10) for _ in range(50)))
        assert len(transport.asked) == 1
        assert all(answer is answers[0] for answer in answers)
        # What is known is young enough.
        await watch.look(age=10)
        assert len(transport.asked) == 1

    asyncio.run(main())


def test_an_answer_to_an_older_question_does_not_count() -> None:
    async def main() -> None:
        transport = Counting()
        watch = Watch(transport, DISTANCE)
        first = asyncio.ensure_future(watch.look(age=math.inf))
        await transport.begun.wait()
        submitted = time.monotonic()
        found = await watch.look(after=submitted, age=math.inf)
        assert found.asked_at > submitted
        assert (await first).asked_at <= submitted

    asyncio.run(main())


def test_questions_keep_their_distance_also_those_that_fail() -> None:
    async def main() -> None:
        transport = Counting()
        transport.away = True
        watch = Watch(transport, DISTANCE)
        for _ in range(4):
            with pytest.raises(BackendUnavailableError):
                await watch.look(age=math.inf)
        gaps = [after - before for before, after in zip(transport.asked, transport.asked[1:], strict=False)]
        assert min(gaps) >= DISTANCE
        # What was known before the fault says nothing of now, and what comes after counts again.
        transport.away = False
        assert (await watch.look(age=math.inf)).jobs

    asyncio.run(main())


def test_whoever_stops_waiting_takes_the_answer_from_nobody() -> None:
    async def main() -> None:
        transport = Counting()
        watch = Watch(transport, DISTANCE)
        one = asyncio.ensure_future(watch.look(age=math.inf))
        other = asyncio.ensure_future(watch.look(age=math.inf))
        await asyncio.sleep(0)
        one.cancel()
        assert (await other).jobs
        assert len(transport.asked) == 1

    asyncio.run(main())


class Waking(Counting):
    """A scheduler whose answer wakes somebody up just before it is an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = asyncio.Event()

    async def jobs(self) -> Mapping[str, Job]:
        """Answer at once, and wake up whoever waits for that."""
        found = await super().jobs()
        self.answering.set()
        return found


def test_a_question_that_is_just_over_holds_the_loop_up_for_nobody() -> None:
    """Who asks between the end of a question and its being put away asks another one."""

    async def main() -> None:
        transport = Waking()
        watch = Watch(transport, DISTANCE)

        async def late() -> None:
            await transport.answering.wait()
            await watch.look(after=time.monotonic(), age=10)

        await asyncio.gather(watch.look(age=10), late())
        assert len(transport.asked) == 2

    def stuck(_signal: int, _frame: object) -> None:
        raise AssertionError("the loop does nothing else any more")

    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(60)
    try:
        asyncio.run(main())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
