"""Talk to one cloud, over OpenStack's own SDK, which blocks: in threads of its own, never on the hub's loop.

Each request has a time limit. What passes, such as an outage or a cloud that is asked too often, becomes a
BackendUnavailableError, and so does a credential that no longer holds, told apart by `lets_in`; what the
cloud refuses becomes Refused, with its status. None of them carries the cloud's words to a person.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from keystoneauth1 import exceptions as keystone
from openstack import config, exceptions
from openstack.connection import Connection

from jupyterhub_daas.errors import BackendError, BackendUnavailableError, ConfigurationError
from jupyterhub_daas.spawners.backends.openstack.options import OpenStackOptions
from jupyterhub_daas.spawners.backends.openstack.words import refusal

log = logging.getLogger(__name__)

# As many connections to one service does the SDK keep open.
THREADS = 8
# "Too large" is what clouds of old say to one that asks too often, and to one that is over its quota.
PASSING = (408, 425, 429)
CREDENTIAL = "openstack-credential"

Answer = TypeVar("Answer")


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The cloud's no: a status, and its words for the log."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status}: {words}")
        self.status = status
        self.words = words


def lets_in(error: BackendError) -> bool:
    """Tell whether the reason of an error is another one than the portal's credential."""
    return error.details.get("reason") != CREDENTIAL


class Cloud:
    """Ask one project of one cloud; one connection serves all threads."""

    def __init__(self, options: OpenStackOptions) -> None:
        self._options = options
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="openstack")
        self._connection: Connection | None = None
        self._connecting = threading.Lock()

    def close(self) -> None:
        """Let go of the threads; what they still wait for has its time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """Run a question in a thread; return its answer."""
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            # What was begun goes on in its thread: who gave it up must know when it is over.
            await asyncio.wait({asked})
            asked.exception()
            raise

    def _ask(self, question: Callable[[Connection], Answer]) -> Answer:
        try:
            return question(self._connect())
        except (keystone.Unauthorized, keystone.MissingRequiredOptions) as error:
            raise self._not_let_in(error) from error
        except exceptions.HttpException as error:
            raise self._told(error) from error
        except keystone.HttpError as error:
            if (error.http_status or 500) < 500 and error.http_status not in PASSING:
                raise Refused(error.http_status, str(error)[:2000]) from error
            raise BackendUnavailableError("The cloud does not answer now.") from error
        except (keystone.ClientException, exceptions.SDKException, OSError) as error:
            raise BackendUnavailableError("The cloud does not answer now.") from error

    def _told(self, error: exceptions.HttpException) -> Exception:
        status = int(error.status_code or 0)
        words = str(error.details or error.message)[:2000]
        if status == 401:
            return self._not_let_in(error)
        limited = status == 413 and (error.response is None or "Retry-After" in error.response.headers)
        if status in PASSING or status >= 500 or not status or limited:
            return BackendUnavailableError("The cloud does not answer now.", status=status, words=words)
        return Refused(status, words)

    def _not_let_in(self, error: Exception) -> BackendUnavailableError:
        # A credential that the facility replaced is read anew.
        with self._connecting:
            self._connection = None
        return BackendUnavailableError(
            "The cloud does not let the portal in.", reason=CREDENTIAL, words=str(error)[:500]
        )

    def _connect(self) -> Connection:
        with self._connecting:
            if self._connection is None:
                self._connection = Connection(config=self.region())
            return self._connection

    def region(self) -> config.cloud_region.CloudRegion:
        """Read the facility's clouds.yaml; raise ConfigurationError where that cannot be done."""
        files = [self._options.clouds_file] if self._options.clouds_file else None
        try:
            loader = config.OpenStackConfig(
                config_files=files,
                secure_files=[_secure(self._options.clouds_file)] if self._options.clouds_file else None,
                load_envvars=False,
            )
            return loader.get_one(
                cloud=self._options.cloud,
                region_name=self._options.region,
                api_timeout=self._options.request_seconds,
                app_name="jupyterhub-daas",
            )
        except (exceptions.ConfigException, OSError) as error:
            raise ConfigurationError(
                f"The access to cloud '{self._options.cloud}' cannot be read ({error.__class__.__name__}).",
                field="cloud",
            ) from error


def _secure(clouds_file: str) -> str:
    return f"{clouds_file.rpartition('/')[0]}/secure.yaml"


@contextmanager
def telling() -> Iterator[None]:
    """Have what the cloud refuses meanwhile become words for a person."""
    try:
        yield
    except Refused as refused:
        raise told(refused) from refused


def told(refused: Refused) -> BackendError:
    """Turn the cloud's no into words for a person; its own are in the log."""
    log.error("The cloud refused: %s", refused)
    return refusal(refused.status, refused.words)
