"""Slurm by slurmrestd, for a hub that is not on the cluster: each question with the token of who asks it."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import aiohttp

from jupyterhub_daas.errors import BackendUnavailableError, NotFoundError
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest
from jupyterhub_daas.spawners.backends.slurm import dialects
from jupyterhub_daas.spawners.backends.slurm.capacity import Node
from jupyterhub_daas.spawners.backends.slurm.dialects import NotUnderstoodError
from jupyterhub_daas.spawners.backends.slurm.options import RestOptions
from jupyterhub_daas.spawners.backends.slurm.tokens import Tokens
from jupyterhub_daas.spawners.backends.slurm.transport import SlurmTransport
from jupyterhub_daas.spawners.backends.slurm.words import refusal

log = logging.getLogger("jupyterhub_daas.spawners.slurm")

MAX_ANSWER = 1 << 28
AWAY = "The cluster does not answer."
Found = TypeVar("Found")


class SlurmRest(SlurmTransport):
    """Ask slurmrestd: submit and cancel as the person, list as an account without rights."""

    def __init__(self, options: RestOptions, tokens: Tokens, *, hub_id: str, seconds: float) -> None:
        self._url, self._account = options.url.rstrip("/"), options.account
        self._tokens, self._hub_id, self._seconds = tokens, hub_id, seconds
        self._context = ssl.create_default_context(cafile=options.ca_file)
        self._version: int | None = None

    async def submit(self, request: JobRequest) -> str:
        """Submit a job with the person's token."""
        name = request.account.name
        body = dialects.submission(request, await self._speak(name))
        answer = await self._ask("POST", "job/submit", name, body=body)
        said = dialects.errors_of(answer)
        # With an id it is in the queue, whatever else is said, of nodes that are down say.
        job_id = dialects.job_id_of(answer)
        if not job_id:
            log.warning("Slurm refused job %s: %s", request.name, said[:1000])
            raise refusal(said)
        return job_id

    async def jobs(self) -> Mapping[str, Job]:
        """List the hub's jobs, those that ended in the last minutes included."""
        return await self._list("jobs", lambda answer: dialects.jobs_in(answer, self._hub_id))

    async def cancel(self, job: Job) -> None:
        """Cancel a job with its owner's token."""
        await self._speak(job.account)
        said = dialects.errors_of(await self._ask("DELETE", f"job/{job.id}", job.account))
        if said and "Invalid job id" not in said and "already completed" not in said:
            log.warning("Slurm does not cancel job %s: %s", job.id, said[:1000])
            raise BackendUnavailableError(AWAY)

    async def nodes(self) -> tuple[Node, ...]:
        """List the cluster's nodes."""
        nodes = await self._list("nodes", lambda answer: answer)
        return await self._list("partitions", lambda answer: dialects.nodes_in(nodes, answer))

    async def read_file(self, account: JobAccount, path: str, *, lines: int) -> str | None:
        """Say where the file is: slurmrestd reads none."""
        raise NotFoundError(f"The log is the file {path.removeprefix('~/')} in your home on the cluster.")

    async def _list(self, what: str, parse: Callable[[dict[str, Any]], Found]) -> Found:
        await self._speak(self._account)
        answer = await self._ask("GET", what, self._account)
        said = dialects.errors_of(answer)
        try:
            if said:
                raise NotUnderstoodError(said)
            return await asyncio.to_thread(parse, answer)
        except NotUnderstoodError as error:
            log.warning("Slurm does not list its %s: %s", what, str(error)[:1000])
            raise BackendUnavailableError(AWAY) from error

    async def _speak(self, name: str) -> int:
        """Return the version of the API that both sides speak, asked for once."""
        if self._version is None:
            answer = await self._ask("GET", "", name, path="/openapi/v3")
            self._version = dialects.choose_version(answer.get("paths") or {})
            if self._version is None:
                log.warning("slurmrestd offers none of the versions v0.0.%s", dialects.VERSIONS)
                raise BackendUnavailableError(AWAY)
        return self._version

    async def _ask(
        self, method: str, what: str, name: str, *, body: object = None, path: str = ""
    ) -> dict[str, Any]:
        """Ask as somebody; an answer with errors in it is an answer, anything else is none."""
        token = await self._tokens.get(name)
        headers = {"X-SLURM-USER-NAME": name, "X-SLURM-USER-TOKEN": token}
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        url = self._url + (path or f"/slurm/v0.0.{self._version}/{what}")
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                # A token goes to nobody else, whatever the answer says.
                http.request(
                    method, url, headers=headers, json=body, ssl=self._context, allow_redirects=False
                ) as response,
            ):
                content = await response.content.read(MAX_ANSWER)
                while not response.content.at_eof() and len(content) < MAX_ANSWER:
                    content += await response.content.read(MAX_ANSWER - len(content))
                return await asyncio.to_thread(dialects.read, content)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            log.warning("slurmrestd does not answer: %s", type(error).__name__)
            raise BackendUnavailableError(AWAY) from error
        except NotUnderstoodError as error:
            if response.status in (401, 403):
                self._tokens.forget(name)
            log.warning("slurmrestd answers %s: %s", response.status, error)
            raise BackendUnavailableError(AWAY) from error
