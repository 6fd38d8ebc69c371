"""Talk to one cluster's API, over a client of its own: a hub may use several clusters.

What passes, such as an outage, becomes a BackendUnavailableError; what the API refuses becomes Refused, with
its status. Neither carries the API's words to a person.
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api

from jupyterhub_daas.errors import BackendUnavailableError, ConfigurationError
from jupyterhub_daas.spawners.backends.kubernetes.options import KubernetesOptions

PAGE = 200
WATCH_SECONDS = 60
# An API server that has just come up refuses everybody until it has read who may do what.
SETTLE_SECONDS = 30.0
NO_RIGHT = re.compile(r"cannot \w+ resource")


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The API's no: a status, and its words for the log."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status}: {words}")
        self.status = status
        self.words = words


class Cluster:
    """Ask one API server about one namespace."""

    def __init__(self, options: KubernetesOptions) -> None:
        self.namespace = options.namespace
        self._options = options
        self._core: CoreV1Api | None = None
        self._client: ApiClient | None = None
        self._loading = asyncio.Lock()
        self._settled_at = time.monotonic() + SETTLE_SECONDS

    async def core(self) -> CoreV1Api:
        """Return the client, made at first use and again after credentials lapsed."""
        async with self._loading:
            if self._core is None:
                self._client = await self._connect()
                self._core = CoreV1Api(self._client)
            return self._core

    async def _connect(self) -> ApiClient:
        try:
            if self._options.kubeconfig is None:
                configuration = Configuration()
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
                return ApiClient(configuration)
            return await config.new_client_from_config(
                self._options.kubeconfig, self._options.context, persist_config=False
            )
        except (config.ConfigException, OSError, KeyError, ValueError) as error:
            raise ConfigurationError(
                f"The cluster's access cannot be read ({error.__class__.__name__}).", field="kubeconfig"
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        client, self._client, self._core = self._client, None, None
        if client is not None:
            await client.close()

    async def ask(self, method: str, *, namespaced: bool = True, **given: Any) -> Any:
        """Call a method of the core API; return what it answers, as plain JSON."""
        body = await self._answer(method, namespaced=namespaced, **given)
        return json.loads(body)

    async def read(self, method: str, **given: Any) -> str:
        """Call a method whose answer is text."""
        return (await self._answer(method, **given)).decode(errors="replace")

    async def _answer(self, method: str, *, namespaced: bool = True, **given: Any) -> bytes:
        if namespaced:
            given["namespace"] = self.namespace
        try:
            with passing():
                response = await getattr(await self.core(), method)(
                    **given, _preload_content=False, _request_timeout=self._options.request_seconds
                )
                body: bytes = await response.read()
        except BackendUnavailableError:
            self._settled_at = time.monotonic() + SETTLE_SECONDS
            raise
        await self._check(response.status, body)
        return body

    async def _check(self, status: int, body: bytes) -> None:
        if status < 400:
            return
        if status == 401:
            # A token that lapsed is read anew.
            await self.close()
        words = _words(body)
        settles = status == 403 and NO_RIGHT.search(words) and time.monotonic() < self._settled_at
        if status in (401, 429) or status >= 500 or settles:
            raise BackendUnavailableError("The cluster does not answer now.", status=status, words=words)
        raise Refused(status, words)

    async def list_all(self, method: str, **given: Any) -> tuple[list[dict[str, Any]], str]:
        """Return all objects of a list, page by page, and the version of the first page."""
        found: list[dict[str, Any]] = []
        token, version = None, ""
        while True:
            more: dict[str, Any] = {"_continue": token} if token else {}
            page = await self.ask(method, limit=PAGE, **more, **given)
            found += page["items"]
            version = version or page["metadata"]["resourceVersion"]
            token = page["metadata"].get("continue")
            if not token:
                return found, version

    async def watch(self, method: str, version: str, **given: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield what changes after a version, until the server ends the stream."""
        if given.pop("namespaced", True):
            given["namespace"] = self.namespace
        with passing():
            response = await getattr(await self.core(), method)(
                **given,
                watch=True,
                resource_version=version,
                timeout_seconds=WATCH_SECONDS,
                _preload_content=False,
                # A server that died without a word is noticed too.
                _request_timeout=aiohttp.ClientTimeout(sock_connect=5, sock_read=WATCH_SECONDS + 5),
            )
            try:
                if response.status >= 400:
                    await self._check(response.status, await response.read())
                while line := await response.content.readline():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Refused(int(event["object"].get("code", 410)), "the watch broke off")
                    yield event
            finally:
                response.close()


@contextlib.contextmanager
def passing() -> Iterator[None]:
    """Turn every sign of an outage into one error."""
    try:
        yield
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, json.JSONDecodeError) as error:
        raise BackendUnavailableError("The cluster does not answer now.") from error


def _words(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])[:2000]
    except (ValueError, KeyError, TypeError):
        return ""
