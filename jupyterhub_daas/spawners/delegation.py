"""How the front spawner and its child share one life.

The hub holds one object per session from before anybody knows what will run in it. That object passes what
the hub gave it to a child, asks the child whatever only the backend knows, and keeps the child's state.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import datetime, timezone
from typing import Any

from jupyterhub.spawner import Spawner
from jupyterhub.utils import maybe_future
from traitlets import observe

from jupyterhub_daas.errors import BackendUnavailableError, ConflictError, DaasError, SessionLostError
from jupyterhub_daas.spawners.backends.base import Backend
from jupyterhub_daas.spawners.records import Record, read_record, write_record
from jupyterhub_daas.spawners.refusals import Refusal

# What the hub gave this object goes to the child as it is.
TO_CHILD = (
    "user",
    "orm_spawner",
    "hub",
    "authenticator",
    "config",
    "proxy_spec",
    "_deprecated_db_session",
    "oauth_client_id",
    "cookie_options",
    "cookie_host_prefix_enabled",
    "trusted_alt_names",
    "public_url",
    "public_hub_url",
    "internal_ssl",
    "internal_trust_bundles",
    "internal_certs_location",
)
# The hub sets these later, on this object only.
PUSH = (
    "api_token",
    "admin_access",
    "handler",
    "cert_paths",
    "oauth_access_scopes",
    "oauth_client_allowed_scopes",
)
# The hub reads these from this object, and the child knows better.
PULL = ("http_timeout", "poll_interval", "poll_jitter", "will_resume")
# Our own deadline fires first, so that the person reads our words and the backend is told to clean up.
MARGIN_SECONDS = 15
# A cancelled start cleans up by itself for so long before the backend is asked to end it; then once more.
PATIENCE_SECONDS = (10.0, 50.0)
# So long waits who asks after a session whose start failed, until nothing is left of it.
TIDY_SECONDS = 10.0
# How many of a start's events are kept for its page.
KEPT_EVENTS = 50
_NEWS_SECONDS = 1.0


class DelegatingSpawner(Spawner):  # type: ignore[misc]  # jupyterhub ships no types
    """Delegate to a child spawner; a state that cannot be understood counts as running."""

    def __init__(self, **given: Any) -> None:
        self.child: Spawner | None = None
        self.record = Record()
        self._events: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._starting = False
        self._cancelled: asyncio.Future[Any] | None = None
        self._stuck = False
        self._start_failed = False
        self._tidied: asyncio.Event | None = None
        super().__init__(**given)

    def known_backends(self) -> Mapping[str, Backend]:
        """Return the backends by their key; may raise ConfigurationError."""
        raise NotImplementedError

    # --- the child

    def given(self) -> dict[str, Any]:
        """Return what the hub gave this object, for the child."""
        return {name: getattr(self, name) for name in TO_CHILD}

    def adopt(self, child: Spawner) -> None:
        """Make a spawner the child of this one."""
        child.user_options = {}
        self._push(child)
        for name in PULL:
            setattr(self, name, getattr(child, name))
        self.start_timeout = child.start_timeout + MARGIN_SECONDS
        child.load_state({**child.get_state(), **self.record.child})
        if self.api_token:
            # load_state may have put an old one back.
            child.api_token = self.api_token
        self.child = child

    def _push(self, child: Spawner) -> None:
        for name in PUSH:
            setattr(child, name, getattr(self, name))

    @observe("port")
    def _push_port(self, change: Any) -> None:
        # A job on another machine reports its port to the object that the hub knows.
        if self.child is not None:
            self.child.port = change.new

    def _restored(self) -> Spawner | None:
        """Return the child, built from the record where that is possible."""
        if self.child is None and self.record.session_id:
            try:
                backend = self.known_backends().get(self.record.backend)
                if backend is not None:
                    self.adopt(backend.restore_child(self.record.session_id, self.given()))
            except Exception:
                # Whatever is wrong with the backend's class: the session may well run.
                self.log.exception("Session %s cannot be looked after", self.record.session_id)
        return self.child

    # --- state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what an earlier hub process recorded."""
        super().load_state(state)
        self.record = read_record(state)
        self._events = list(self.record.events)
        if self.record.running and not self.record.waiting:
            self._restored()

    def get_state(self) -> dict[str, Any]:
        """Return what a later hub process needs."""
        if self.child is not None:
            self.record.child = self.child.get_state()
        self.record.events = self._events[-KEPT_EVENTS:]
        return write_record(self.record)

    def clear_state(self) -> None:
        """Forget the run, but not what the backend keeps beyond it, a volume's name say."""
        super().clear_state()
        if self.child is not None:
            self.child.clear_state()
            self.record.child = self.child.get_state()
            self.child = None
        self.record.running = False
        if self._tidied is not None:
            self._tidied.set()
        self._start_failed, self._tidied = False, None

    # --- life

    async def start(self) -> Any:
        """Start the child."""
        child = self.child
        if child is None:
            raise SessionLostError("The session was ended before it was started.")
        self._push(child)
        self._starting = True
        if self._cancelled is not None and self._cancelled.done():
            self._cancelled = None
        try:
            url = await self._started(child)
        except Exception:
            self._start_failed = True
            raise
        finally:
            self._starting = False
            # The hub drops the request when the start is over; so must the child.
            child.handler = None
        self.api_token = child.api_token
        return url

    async def _started(self, child: Spawner) -> Any:
        """Return what the child's start returns; when that is cancelled or late, don't wait for its clean-up.

        The hub gives a cancelled start one second, and looks after it no more if it is not over by then.
        """
        starting = maybe_future(child.start())
        relay = asyncio.ensure_future(self._relay(child))
        try:
            done, _ = await asyncio.wait({starting}, timeout=child.start_timeout)
            if not done:
                raise asyncio.TimeoutError
        except BaseException:
            starting.cancel()
            starting.add_done_callback(self._tell_outcome)
            self._cancelled = starting
            raise
        finally:
            relay.cancel()
        return starting.result()

    def _tell_outcome(self, ended: asyncio.Future[Any]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            self.log.warning("The cancelled start of session %s failed: %s", self.record.session_id, error)

    async def _cancelled_start_is_over(self, seconds: float) -> bool:
        if self._cancelled is None:
            return True
        done, _ = await asyncio.wait({self._cancelled}, timeout=seconds)
        return bool(done)

    async def poll(self) -> int | None:
        """Return None unless the backend says that the session ended; never raise."""
        if self._tidied is not None:
            return await self._when_tidied(self._tidied)
        if self._start_failed:
            # The hub itself asks first, to know whether there is something to tidy up.
            self._tidied = asyncio.Event()
        if self._starting or (self._cancelled is not None and not self._cancelled.done()):
            return None
        if self.record.waiting:
            # Nothing was begun yet.
            return 0
        if not self.record.running and self.child is None:
            return 0
        child = self._restored()
        if child is None:
            return None
        try:
            status: int | None = await maybe_future(child.poll())
        except Exception:
            # Any fault of a backend, of whatever kind: unknown is not stopped.
            self.log.exception("State of session %s unknown, assuming that it runs", self.record.session_id)
            return None
        # What is left of a start that failed or was cancelled is no session that ran.
        if status is None and not (self._start_pending or self._start_failed or self._cancelled):
            self.record.ran = True
        return status

    async def _when_tidied(self, tidied: asyncio.Event) -> int | None:
        """Answer whoever asks while a start that failed is tidied up: it is over, and its error is known."""
        try:
            await asyncio.wait_for(tidied.wait(), TIDY_SECONDS)
        except asyncio.TimeoutError:
            return None
        return 1

    async def stop(self, now: bool = False) -> None:
        """End the session; raise if the backend cannot."""
        self._stuck = True
        child = self._restored()
        if child is None:
            error = BackendUnavailableError(f"Backend '{self.record.backend}' is not configured any more.")
            self.log.error("Session %s cannot be ended: %s", self.record.session_id, error)
            raise error
        try:
            await self._end(child, now=now)
        except DaasError as error:
            self.log.error("Session %s cannot be ended: %s", self.record.session_id, error)
            raise
        self._stuck = False

    async def _end(self, child: Spawner, *, now: bool) -> None:
        for seconds in PATIENCE_SECONDS:
            over = await self._cancelled_start_is_over(seconds)
            await maybe_future(child.stop(now=now))
            if over:
                return
        raise BackendUnavailableError("Its start was cancelled and does not end.")

    async def get_url(self) -> str:
        """Return where the session is reached."""
        child = self._restored()
        return str(await maybe_future(super().get_url() if child is None else child.get_url()))

    async def create_certs(self) -> Any:
        """Make the session's certificates as its backend wants them."""
        return await maybe_future(super().create_certs() if self.child is None else self.child.create_certs())

    async def move_certs(self, paths: Any) -> Any:
        """Bring the certificates to where the session will run."""
        if self.child is None:
            return await maybe_future(super().move_certs(paths))
        self.child.cert_paths = await maybe_future(self.child.move_certs(paths))
        return self.child.cert_paths

    async def delete_forever(self) -> None:
        """Remove what the backend keeps of a session beyond its runs."""
        child = self._restored()
        if child is not None:
            await maybe_future(child.delete_forever())

    async def rename(self, old_name: str, new_name: str) -> None:
        """Refuse: names are chosen by the portal."""
        raise Refusal(
            ConflictError("Sessions keep the name that the portal gave them. Start a new one instead.")
        )

    # --- progress

    @property
    def events(self) -> tuple[dict[str, Any], ...]:
        """Return what the last start told, with the moments."""
        return tuple(self._events)

    def tell(self, progress: int, message: str, **more: str) -> None:
        """Add a line to what the person reads while her session starts."""
        self._add_event({"progress": progress, "message": message, **more})

    def _add_event(self, event: dict[str, Any]) -> None:
        self._events.append({**event, "time": datetime.now(timezone.utc).isoformat(timespec="seconds")})
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all events so far and those to come, until the start is over; for any number of readers."""
        told = 0
        while self.pending == "spawn":
            news = self._news
            for event in self._events[told:]:
                told += 1
                yield dict(event)
            try:
                await asyncio.wait_for(news.wait(), _NEWS_SECONDS)
            except asyncio.TimeoutError:
                continue

    async def _relay(self, child: Spawner) -> None:
        """Add the child's events to ours: read once, whoever looks."""
        try:
            async with aclosing(child.progress()) as events:
                async for event in events:
                    if isinstance(event, dict) and not {"ready", "failed"} & event.keys():
                        self._add_event(event)
        except Exception:
            # Words on the way are not worth a start.
            self.log.exception("The progress of session %s broke off", self.record.session_id)
