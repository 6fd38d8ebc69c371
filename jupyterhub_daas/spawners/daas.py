"""The front spawner: what the hub sees of every session, whichever backend runs it.

Every start passes the one gate in `run_pre_spawn_hook`, holds its resources before it begins, and lets go of
them only when the backend has said that the session ended. A refused start leaves nothing.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jupyterhub.utils import maybe_future
from tornado.ioloop import IOLoop
from tornado.log import app_log
from traitlets import Any as AnyTrait
from traitlets import Bool, Dict, Unicode, default

from jupyterhub_daas.core.catalogue import EnvironmentKind
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.reconciliation import SessionWarning
from jupyterhub_daas.core.reservations import DEFAULT_HOLD_SECONDS, MAX_HOLD_SECONDS
from jupyterhub_daas.core.selection import Selection
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import (
    ConfigurationError,
    ConflictError,
    DaasError,
    NotFoundError,
    QuotaExceededError,
    SessionLostError,
    StartTimeoutError,
)
from jupyterhub_daas.spawners import form, rows
from jupyterhub_daas.spawners.backends.base import Backend
from jupyterhub_daas.spawners.cancelled import CANCELLED_SECONDS, watch_start
from jupyterhub_daas.spawners.delegation import DelegatingSpawner
from jupyterhub_daas.spawners.deployment import Deployment, build_deployment, check_configuration
from jupyterhub_daas.spawners.gate import Admission, admit
from jupyterhub_daas.spawners.names import check_name
from jupyterhub_daas.spawners.records import Record
from jupyterhub_daas.spawners.refusals import Refusal, quieten
from jupyterhub_daas.spawners.trail import SessionTrail
from jupyterhub_daas.spawners.turns import count_as_started, hold_on, leave_the_line, wait_for_turn
from jupyterhub_daas.spawners.view import SessionView, view_of

# How long the error page of a refused start can be read.
GHOST_SECONDS = 120.0
# The hub's form waits this long for a start before it shows the progress page.
EARLY_SECONDS = 1.0
DEPLOYMENT = "daas_deployment"


def deployment_in(settings: dict[str, Any]) -> Deployment:
    """Return what the hub with these settings shares between its spawners; built at first use."""
    if DEPLOYMENT not in settings:
        cls = settings["spawner_class"]
        settings[DEPLOYMENT] = cls(config=settings["config"]).build_deployment()
    found: Deployment = settings[DEPLOYMENT]
    return found


class DaasSpawner(DelegatingSpawner):
    """Check, reserve, start, watch and end sessions through the backend of their profile."""

    settings = AnyTrait(
        help="""The facility's settings: a Settings object, or the path of the settings file.

        Set by ``configure``.

        .. versionadded:: 0.1
        """,
    ).tag(config=True)
    service_urls = Dict(
        help="""Where the services answer: ``proposals``, ``accounts`` and ``quotas``.

        Set by ``configure``. Example: ``{"quotas": "http://127.0.0.1:8101/services/quotas/"}``.

        .. versionadded:: 0.1
        """,
    ).tag(config=True)
    service_token = Unicode(
        help="""The hub's own token at the services. Set by ``configure``; fresh at each start of the hub.

        .. versionadded:: 0.1
        """,
    ).tag(config=True)
    backends = Dict(
        help="""Options of each backend by its key; ``class`` names a backend of the facility's own.

        A backend that a profile names and that is not here has its defaults. Default: none.
        Example: ``{"local": {"homes": "/srv/homes", "grace_seconds": 10}}``.

        .. versionadded:: 0.1
        """,
    ).tag(config=True)
    hub_id = Unicode(
        help="""What distinguishes this hub from others on the same backends; must stay the same for ever.

        Set by ``configure``.

        .. versionadded:: 0.1
        """,
    ).tag(config=True)
    state_folder = Unicode(
        help="""Folder of the hub's own state; a demo keeps the people's homes in its ``homes``.

        Set by ``configure``.

        .. versionadded:: 0.1
        """,
    ).tag(config=True)
    shared_account = Bool(
        False,
        help="""Run all sessions under the hub's own account: for a demo on a person's computer.

        Nothing then protects one person's files from another. Refused when the hub runs as root. Default:
        False, each session runs under the person's own Unix account.

        .. versionadded:: 0.1
        """,
    ).tag(config=True)

    def __init__(self, **given: Any) -> None:
        self._began = 0.0
        self.waiting = ""
        self._trail = SessionTrail(self)
        # What lifecycle wants the person to know, of the session that has this warning's id.
        self.warning: SessionWarning | None = None
        super().__init__(**given)
        quieten(self.log, app_log, logging.getLogger("asyncio"))

    @default("apply_user_options")
    def _apply_nothing(self) -> Any:
        # Without one the hub logs the keys that a person sent, whatever is in them.
        return lambda spawner, options: None

    @default("options_from_form")
    def _options_from_form(self) -> Any:
        return form.options_from_form

    # --- what the hub process shares

    @property
    def deployment(self) -> Deployment:
        """Return what all spawners of this hub process share; built at first use."""
        return deployment_in(self.user.settings)

    def build_deployment(self) -> Deployment:
        """Check the whole configuration and build the clients and backends."""
        options = {key: dict(entry) for key, entry in self.backends.items()}
        if self.shared_account and self.state_folder:
            options.setdefault("local", {}).setdefault("homes", str(Path(self.state_folder) / "homes"))
        built = build_deployment(
            self._read_settings(),
            service_urls=self.service_urls,
            service_token=self.service_token,
            backends=options,
            hub_id=self.hub_id,
            shared_account=self.shared_account,
        )
        check_configuration(self.config, built.backends)
        return built

    def _read_settings(self) -> Settings:
        if isinstance(self.settings, Settings):
            return self.settings
        raise ConfigurationError(
            "DaasSpawner.settings is not set: call configure(c).", field="DaasSpawner.settings"
        )

    def known_backends(self) -> Mapping[str, Backend]:
        """Return the backends of this hub."""
        return self.deployment.backends

    # --- the start

    async def run_pre_spawn_hook(self) -> None:
        """Decide, reserve and build the child; whatever may refuse a start does so here."""
        self._events.clear()
        self._began = time.monotonic()
        self._stuck = False
        watch_start(self)
        session_id = secrets.token_hex(8)
        self._trail.begin(session_id)
        try:
            async with self.deployment.decisions.passing():
                admission = await self._decide(session_id)
            if await wait_for_turn(self, admission):
                await self._admit_again(admission.launch.session_id)
            if admission.launch.mounts:
                self.tell(30, f"Mounting {self.record.proposal}")
        except DaasError as error:
            # Nothing was started: nobody has to ask the backend whether it ended.
            self.child, self.record.running = None, False
            raise self._refusal(error) from error
        await maybe_future(super().run_pre_spawn_hook())

    async def _decide(self, session_id: str) -> Admission:
        admission = await self._admit(session_id)
        self._trail.admitted(admission.launch, admission.role)
        self._build_child(admission.launch)
        await self._reserve(admission)
        return admission

    async def _admit(self, session_id: str) -> Admission:
        self.tell(5, "Checking your account and the proposal")
        check_name(self.name)
        known, sent = self.record.options, self._sent()
        try:
            selection = Selection.parse(sent, self.deployment.catalogue)
        except DaasError:
            # What was sent is stored already: the next start must not find it.
            rows.keep_options(self, known)
            raise
        self._choose(selection)
        now = datetime.now(timezone.utc)
        admission = await self._ask(sent, session_id, now)
        selection = admission.selection
        self._choose(selection)
        self.record = Record(
            ran=self.record.ran,
            session_id=session_id,
            created=now,
            expires_at=admission.launch.expires_at,
            options=selection.options(),
            **selection.model_dump(include={"proposal", "environment", "backend", "profile", "flavour"}),
            child=self.record.child,
        )
        return admission

    async def _admit_again(self, session_id: str) -> None:
        """Ask anew after a wait: she may have lost her access meanwhile, and her time begins only now."""
        admission = await self._ask(self.record.options, session_id, datetime.now(timezone.utc))
        await hold_on(self, session_id, admission.launch.expires_at)
        self.record.expires_at = admission.launch.expires_at
        self._build_child(admission.launch)

    def _choose(self, selection: Selection) -> None:
        self._trail.selected(selection)
        self.user_options = selection.options()
        rows.keep_options(self, self.user_options)

    async def _ask(self, options: object, session_id: str, now: datetime) -> Admission:
        return await admit(
            self.deployment,
            options,
            username=self.user.name,
            session=self.name,
            session_id=session_id,
            now=now,
        )

    def _sent(self) -> object:
        return self.user_options

    def _build_child(self, launch: Launch) -> None:
        backend = self.deployment.backends[launch.backend]
        self.adopt(backend.build_child(launch, self.given()))

    async def _reserve(self, admission: Admission) -> None:
        self.tell(15, "Checking your quota")
        # Recorded before anything is done: a hub that is killed in between finds, ends and releases it all.
        self.record.running = self.record.reserved = True
        rows.keep_state(self, self.get_state())
        seconds = min(self.start_timeout + self.http_timeout + DEFAULT_HOLD_SECONDS, MAX_HOLD_SECONDS)
        request = admission.request.model_copy(update={"hold_seconds": seconds})
        try:
            await self.deployment.quotas.reserve(self.record.session_id, request)
        except QuotaExceededError:
            self.record.reserved = False
            raise

    async def start(self) -> Any:
        """Start the child and make the reservation active."""
        called = self._called()
        self.tell(50, f"Starting {called}")
        try:
            url = await super().start()
            await self._activate()
        except asyncio.TimeoutError:
            late = StartTimeoutError(
                "The session did not come up in time. Please try again. If it happens twice, tell support."
            )
            raise self._refusal(late) from None
        except DaasError as error:
            raise self._refusal(error) from error
        self.record.ran = True
        self._trail.started()
        self.tell(85, f"Waiting for {called} to answer")
        return url

    async def _activate(self) -> None:
        try:
            await self.deployment.quotas.activate(self.record.session_id)
        except (NotFoundError, ConflictError) as error:
            raise SessionLostError(
                "The start took so long that its reservation lapsed. Please start again."
            ) from error
        except DaasError as error:
            # The session runs and its resources are held: the lifecycle service makes it active later.
            self.log.warning("Reservation %s could not be made active: %s", self.record.session_id, error)

    def _refusal(self, error: DaasError) -> Refusal:
        self.tell(100, error.message, code=error.code)
        self._trail.refused(error)
        return Refusal(error)

    def _called(self) -> str:
        environment = self.deployment.catalogue.environments[self.record.environment]
        return {EnvironmentKind.JUPYTER: "JupyterLab", EnvironmentKind.DESKTOP: "the desktop"}.get(
            environment.kind, environment.title
        )

    # --- the end

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what an earlier hub process recorded; what it let through counts as let through."""
        super().load_state(state)
        count_as_started(self)

    async def poll(self) -> int | None:
        """Return None unless the backend says that the session ended; never raise."""
        status = await super().poll()
        if status is not None:
            self._trail.gone()
        return status

    async def run_post_stop_hook(self) -> None:
        """Release what the session held; forget a session that never ran. Also called for refused starts."""
        self._trail.stopped()
        leave_the_line(self)
        rows.revoke_tokens(self)
        await self._release()
        await maybe_future(super().run_post_stop_hook())
        if not self.record.ran:
            if self._spawn_future is None:
                # The start was cancelled, and whoever did so may be about to delete the row.
                IOLoop.current().call_later(CANCELLED_SECONDS, self._forget)
            else:
                self._forget()

    async def _release(self) -> None:
        if not self.record.reserved:
            return
        if self._stuck:
            # Something may still run: reconciliation releases it when that is gone.
            return
        try:
            await self.deployment.quotas.release(self.record.session_id)
        except DaasError as error:
            self.log.warning("Reservation %s is released later: %s", self.record.session_id, error)
            return
        self.record.reserved = False

    def _forget(self) -> None:
        if (self.active and not self._stop_pending) or self.record.note:
            return
        if rows.forget(self):
            # An early refusal was the answer to the request itself; a later one is read on the progress page.
            early = time.monotonic() - self._began < EARLY_SECONDS
            IOLoop.current().call_later(0.0 if early else GHOST_SECONDS, self._vanish)

    def forget_if_unused(self) -> None:
        """Forget a session of which nothing is known but its name."""
        known = self.record.ran or self.record.options or self.orm_spawner.user_options
        if not known and not self.active and rows.forget(self):
            self._vanish()

    def _vanish(self) -> None:
        if dict.get(self.user.spawners, self.name) is not self:
            return
        if self.active:
            IOLoop.current().call_later(EARLY_SECONDS, self._vanish)
        else:
            del self.user.spawners[self.name]

    # --- what pages show

    @property
    def session(self) -> SessionView:
        """Return what a page may show of this session, without asking anybody."""
        state = {"spawn": "starting", "check": "starting", "stop": "stopping"}.get(
            self.pending or "", "running" if self.ready else "stopped"
        )
        return view_of(
            self.record, self.deployment.catalogue, name=self.name, state=state, waiting=self.waiting
        )

    async def get_options_form(self) -> str:
        """Return the form of /hub/spawn."""
        return await form.build_form(self.deployment, self.user.name, self.record.options)
