"""Run one service: database, routes, health, metrics, and an end with the hub that started it."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from tornado import web
from tornado.httpserver import HTTPServer

from jupyterhub_daas.database.engine import answering, create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import ConfigurationError, DaasError
from jupyterhub_daas.services.documentation import render_documentation
from jupyterhub_daas.services.environment import ServiceEnvironment
from jupyterhub_daas.services.handlers import MAX_BODY, NotFoundHandler, _AnswersErrors
from jupyterhub_daas.services.parent import PARENT_VARIABLE, die_with_parent

log = logging.getLogger("jupyterhub_daas.services")

# A block or a revoked token must count within seconds, not after the 300 of HubAuth.
TOKEN_CACHE_SECONDS = 15
CHECK_SECONDS = 3.0
MOST_CANCELS = 5

REQUESTS = Counter("daas_requests", "Requests by status.", ["service", "method", "status"])
SECONDS = Histogram("daas_request_seconds", "Time to answer a request.", ["service"])

Check = Callable[[], Awaitable[object]]
Route = tuple[str, type[web.RequestHandler]] | tuple[str, type[web.RequestHandler], dict[str, Any]]


@dataclass
class Service:
    """What a service adds to the common parts: routes below its prefix, health checks, background work."""

    routes: list[Route]
    settings: dict[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    background: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    close: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


Build = Callable[[ServiceEnvironment, AsyncEngine], Awaitable[Service]]


class _Health(_AnswersErrors):
    """Say which of the service's parts answer: 200 if all do, 503 otherwise."""

    async def get(self) -> None:
        checks: Mapping[str, Check] = self.settings["checks"]
        results = await asyncio.gather(*(_problem(check) for check in checks.values()))
        found = dict(zip(checks, results, strict=True))
        problems = {name: problem for name, problem in found.items() if problem is not None}
        parts = {name: name not in problems for name in found}
        answer = {"healthy": not problems, "parts": parts, "problems": problems}
        self.answer(answer, 503 if problems else 200)


async def _problem(check: Check) -> str | None:
    """Return what is wrong, in words fit for everybody: health is public."""
    try:
        await asyncio.wait_for(check(), CHECK_SECONDS)
    except DaasError as error:
        return error.message
    except Exception:
        log.warning("A health check failed", exc_info=True)
        return "It does not answer."
    return None


class _Metrics(_AnswersErrors):
    """Expose the process's metrics to Prometheus."""

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(generate_latest())


class _OpenApi(_AnswersErrors):
    """Serve the contract."""

    def get(self) -> None:
        self.set_header("Content-Type", "application/yaml")
        self.finish(openapi_text(self.environment.name))


class _Documentation(_AnswersErrors):
    """Render the contract for people."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header(
            "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        )
        self.finish(render_documentation(openapi_text(self.environment.name)))


def openapi_text(name: str) -> str:
    """Return the OpenAPI file of a service."""
    return files(f"jupyterhub_daas.services.{name}").joinpath("openapi.yaml").read_text(encoding="utf-8")


def make_application(
    environment: ServiceEnvironment, service: Service, engine: AsyncEngine
) -> web.Application:
    """Join the service's routes with the common ones."""

    async def database() -> None:
        with answering():
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

    common: list[Route] = [
        ("health", _Health),
        ("metrics", _Metrics),
        ("openapi.yaml", _OpenApi),
        ("docs", _Documentation),
        ("oauth_callback", HubOAuthCallbackHandler),
    ]
    routes = [(environment.prefix + route[0], *route[1:]) for route in [*common, *service.routes]]
    settings: dict[str, Any] = {
        "default_handler_class": NotFoundHandler,
        "log_function": lambda handler: _observe(environment.name, handler),
        "cookie_secret": os.urandom(32),
        **service.settings,
        "environment": environment,
        "checks": {"database": database, **service.checks},
    }
    return web.Application(routes, **settings)


def _observe(name: str, handler: web.RequestHandler) -> None:
    status = handler.get_status()
    seconds = handler.request.request_time()
    REQUESTS.labels(name, handler.request.method, status).inc()
    SECONDS.labels(name).observe(seconds)
    # The path only: a query may hold what a person typed.
    log.info("%s %s %s %.1f ms", status, handler.request.method, handler.request.path[:200], 1000 * seconds)


def run(name: str, build: Build) -> None:
    """Serve until the hub ends or says so."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # At INFO the hub's library writes what XSRF tokens are made of.
    logging.getLogger("tornado.application").setLevel(logging.WARNING)
    die_with_parent(os.environ.get(PARENT_VARIABLE, ""))
    try:
        asyncio.run(_serve(ServiceEnvironment.read(name), build))
    except ConfigurationError as error:
        log.error("The service %s can't start: %s", name, error.message)
        sys.exit(1)
    except asyncio.CancelledError:
        log.info("The service %s was told to end before it was up", name)


async def _serve(environment: ServiceEnvironment, build: Build) -> None:
    asked = _interrupted_until_up()
    hub_auth = HubOAuth.instance()
    hub_auth.cache_max_age = TOKEN_CACHE_SECONDS
    engine = create_engine(environment.database_url)
    background: list[asyncio.Task[None]] = []
    service: Service | None = None
    try:
        await upgrade(engine, environment.name)
        service = await build(environment, engine)
        server = HTTPServer(make_application(environment, service, engine), max_body_size=16 * MAX_BODY)
        # The hub holds the port for us.
        server.listen(environment.port, environment.host, reuse_port=True)
        log.info("Service %s listens at %s:%s", environment.name, environment.host, environment.port)
        background = [asyncio.ensure_future(_endless(work)) for work in service.background]
        _on_end(asked.set)
        await asked.wait()
        server.stop()
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        for close in service.close if service else ():
            await close()
        await engine.dispose()
        await end_tasks()


async def end_tasks() -> None:
    """Cancel whatever else runs until it has ended.

    asyncio tells each task once. One in which the driver of SQLite closes a connection takes that for the end
    of its first step and then waits for ever: the service would outlive its hub.
    """
    for _ in range(MOST_CANCELS):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not others:
            return
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=1)


async def _endless(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except DaasError as error:
            log.warning("Background work failed, trying again: %s", error.message)
        except Exception:
            log.exception("Background work failed, trying again")
        await asyncio.sleep(1)


def _interrupted_until_up() -> asyncio.Event:
    """Have whoever tells the service to end interrupt this task; return what says that somebody did.

    The driver of a database can swallow an interruption. A service that comes up all the same then ends as
    soon as it is up.
    """
    asked, coming_up = asyncio.Event(), asyncio.current_task()
    assert coming_up is not None

    def interrupt() -> None:
        asked.set()
        coming_up.cancel()

    _on_end(interrupt)
    return asked


def _on_end(action: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, action)
