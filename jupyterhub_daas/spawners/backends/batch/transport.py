"""The narrow way to a scheduler: submit, look at all jobs at once, cancel.

Whoever implements it converts the scheduler's errors: BackendUnavailableError where nothing is known, and a
refusal with a sentence for the person where the scheduler said no. A job that is not listed in an answer
without an error is not there; anything less certain must raise.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest


class Transport(ABC):
    """How a hub reaches one scheduler."""

    @abstractmethod
    async def submit(self, request: JobRequest) -> str:
        """Submit a job as the person, and return its id."""

    @abstractmethod
    async def jobs(self) -> Mapping[str, Job]:
        """Return all jobs of this hub by session id; those that ended lately may be among them."""

    @abstractmethod
    async def cancel(self, job: Job) -> None:
        """Have a job end; returns before it has. A job that ended meanwhile is no error."""

    async def read_file(self, account: JobAccount, path: str, *, lines: int) -> str | None:
        """Return the last lines of a file as the person would read it; None where there is none.

        Where the hub does not know the cluster's accounts, `path` begins with ``~/`` for the person's home.
        """
        return None
