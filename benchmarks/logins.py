"""Many sign-ins at the same moment at one hub: is each person herself, and does the hub's loop go on?

    python -m benchmarks.logins [--people 200]

Three runs, each with all people at once: names without a password at a hub as JupyterHub comes
(DummyAuthenticator); facility accounts with scrypt, and a real OpenID provider, both at our hub with all its
services. A probe in each hub's own process measures how late its loop is (a beat every ten milliseconds), how
long its longest single step took, and how much of a processor the costliest one: where the machine does other
things too, only that is the hub's own. Forms are opened, and people are asked by their providers, before the
clock starts. Traffic goes to loopback only.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml
from yarl import URL

from benchmarks.measuring import report
from jupyterhub_daas.authenticators.accounts.file import make_hash
from tests.support.sign_in import first_form
from tests.support.stack import DEMO, Stack
from tests.support.umbrella import Umbrella

PASSWORD = "a password of the benchmark"
AT_ONCE_BEFORE = 8
# What the demo's provider keeps in its memory are a thousand things: enough for a hundred people who sign in.
PROVIDERS = 2
DEADLINE = aiohttp.ClientTimeout(total=180)

# Configuration is read while the hub's loop runs. Both clocks are the system's monotonic one.
PROBE = """
import asyncio.events, time

def _probe(path, beat=0.01, least=0.005):
    told = open(path, "w", buffering=1)
    run = asyncio.events.Handle._run

    def timed(handle):
        begin, used = time.monotonic(), time.thread_time()
        run(handle)
        took = time.monotonic() - begin
        if took > least:
            told.write(f"step {begin} {took}\\ncpu {begin} {time.thread_time() - used}\\n")

    asyncio.events.Handle._run = timed

    async def beats():
        while True:
            due = time.monotonic() + beat
            await asyncio.sleep(beat)
            late = time.monotonic() - due
            if late > least:
                told.write(f"late {due} {late}\\n")

    return asyncio.get_running_loop().create_task(beats())

_beats = _probe(given["folder"] + "/probe.log")
"""
OURS = "c.DaasAuthenticator.providers = {providers!r}\n"
BARE = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.template_paths = []
c.JupyterHub.default_url = "/hub/home"
"""

Enter = Callable[[], Awaitable[int]]


class Visitor(NamedTuple):
    """A person with a browser, and what she sends to be let in."""

    name: str
    browser: aiohttp.ClientSession
    enter: Enter


class Outcome(NamedTuple):
    """What became of all people: the three last are the worst of the hub's loop."""

    seconds: float
    wrong: int
    late_ms: float
    step_ms: float
    step_cpu_ms: float


def _subject(name: str) -> str:
    return f"{name}@umbrella.example"


def _furnish(ours: Stack, providers: Sequence[Umbrella], names: Sequence[str]) -> None:
    """Have the facility know everybody, each by an identity at one of the providers."""
    path = ours.folder / "facility.yaml"
    directory: dict[str, Any] = yaml.safe_load(path.read_text())
    entry = json.loads((DEMO / "people.json").read_text())["amara"]
    members = next(iter(directory["proposals"].values()))["members"]
    for number, name in enumerate(names):
        identity = {"issuer": providers[number % len(providers)].issuer, "subject": _subject(name)}
        numbers = {"uid": 30_000 + number, "gid": 30_000 + number}
        directory["people"][name] = {"display_name": name, **numbers, "identities": [identity]}
        members[name] = "member"
    path.write_text(yaml.safe_dump(directory, sort_keys=False))
    everybody = {name: {**entry, "sub": _subject(name), "name": name, "password": PASSWORD} for name in names}
    for provider in providers:
        provider.folder.mkdir()
        provider.people.write_text(json.dumps(everybody))
    hashed = {name: make_hash(PASSWORD).model_dump() for name in names}
    (ours.folder / "accounts.yaml").write_text(yaml.safe_dump(hashed))
    ours.hand_over()


async def _by_password(stack: Stack, browser: aiohttp.ClientSession, name: str) -> Enter:
    """Open the form; return what sends it."""
    async with browser.get(f"{stack.url}/hub/login") as answer:
        form, place = first_form(await answer.text(), "password"), answer.url
    assert form is not None
    address, data = place.join(URL(form[0])), {**form[1], "username": name, "password": PASSWORD}

    async def enter() -> int:
        async with browser.post(address, data=data, allow_redirects=False) as answer:
            return answer.status

    return enter


async def _by_provider(stack: Stack, browser: aiohttp.ClientSession, name: str) -> Enter:
    """Sign in at her provider; return what brings its answer back."""
    key = f"provider{int(name[-1]) % PROVIDERS}"
    async with browser.get(f"{stack.url}/hub/auth/{key}/oauth_login") as answer:
        form, place = first_form(await answer.text(), "login"), answer.url
    assert form is not None
    address, data = place.join(URL(form[0])), {**form[1], "login": name, "password": PASSWORD}
    while not str(address).startswith(stack.url):
        method = "POST" if data else "GET"
        async with browser.request(method, address, data=data, allow_redirects=False) as step:
            address, data = step.url.join(URL(step.headers["Location"])), {}

    async def enter() -> int:
        async with browser.get(address, allow_redirects=False) as answer:
            return answer.status

    return enter


async def _who(stack: Stack, browser: aiohttp.ClientSession) -> str:
    """Return as whom the hub knows a browser."""
    cookies = browser.cookie_jar.filter_cookies(URL(f"{stack.url}/hub/"))
    headers = {"X-XSRFToken": cookies["_xsrf"].value} if "_xsrf" in cookies else {}
    async with browser.get(f"{stack.api}/user", headers=headers) as answer:
        return str((await answer.json()).get("name", ""))


def _worst(stack: Stack, kind: str, begin: float, end: float) -> float:
    """Return the worst of the probe between two moments, in milliseconds."""
    lines = [line.split() for line in (stack.folder / "probe.log").read_text().splitlines()]
    found = [float(took) for what, at, took in lines if what == kind and begin - 1 <= float(at) <= end]
    return round(1000 * max(found, default=0.0), 1)


async def _each(action: Callable[[Any], Awaitable[Any]], items: Sequence[Any]) -> list[Any]:
    room = asyncio.Semaphore(AT_ONCE_BEFORE)

    async def one(item: Any) -> Any:
        async with room:
            return await action(item)

    return await asyncio.gather(*(one(item) for item in items))


async def measure(stack: Stack, names: Sequence[str], way: Callable[..., Awaitable[Enter]]) -> Outcome:
    """Have everybody sign in at once, and look who each of them then is."""
    async with AsyncExitStack() as held:

        async def arrive(name: str) -> Visitor:
            jar, headers = aiohttp.CookieJar(unsafe=True), {"Sec-Fetch-Mode": "navigate"}
            browser = aiohttp.ClientSession(cookie_jar=jar, headers=headers, timeout=DEADLINE)
            await held.enter_async_context(browser)
            return Visitor(name, browser, await way(stack, browser, name))

        visitors: list[Visitor] = await _each(arrive, names)
        begin = time.monotonic()
        statuses = await asyncio.gather(*(each.enter() for each in visitors))
        end = time.monotonic()
        found = await _each(lambda each: _who(stack, each.browser), visitors)
    right = [(302, each.name) for each in visitors]
    wrong = sum(seen != wanted for seen, wanted in zip(zip(statuses, found, strict=True), right, strict=True))
    worst = (_worst(stack, kind, begin, end) for kind in ("late", "step", "cpu"))
    return Outcome(round(end - begin, 2), wrong, *worst)


def _tell(outcomes: dict[str, Outcome], people: int) -> None:
    peer = outcomes["dummy"]
    figures = {
        name: {**each._asdict(), "ratio": round(each.seconds / peer.seconds, 2)}
        for name, each in outcomes.items()
    }
    words = "; ".join(
        f"{name} {each.seconds} s, {each.wrong} wrong, step {each.step_ms} ms, cpu {each.step_cpu_ms}"
        for name, each in outcomes.items()
    )
    report("logins", f"{people} at once: {words}", {"people": people, "load": os.getloadavg()[0], **figures})


def main() -> None:
    """Measure the three ways one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=200)
    names = [f"person{number:04d}" for number in range(parser.parse_args().people)]
    with tempfile.TemporaryDirectory(prefix="daas-logins-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        providers = {f"provider{number}": Umbrella(folder / str(number)) for number in range(PROVIDERS)}
        settings = [each.settings(key=key, title=key) for key, each in providers.items()]
        ours = Stack(folder / "ours", extra=PROBE + OURS.format(providers=settings))
        bare = Stack(folder / "bare", configure={"services": []}, extra=PROBE + BARE)
        _furnish(ours, tuple(providers.values()), names)
        try:
            for key, provider in providers.items():
                provider.start(ours.url, key=key)
            ours.start()
            bare.start()
            outcomes = {
                "dummy": asyncio.run(measure(bare, names, _by_password)),
                "account": asyncio.run(measure(ours, names, _by_password)),
                "provider": asyncio.run(measure(ours, names, _by_provider)),
            }
        finally:
            ours.stop()
            bare.stop()
            for provider in providers.values():
                provider.stop()
    _tell(outcomes, len(names))


if __name__ == "__main__":
    main()
