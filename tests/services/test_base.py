"""The common ground of all services: who is let in, what may come in and go out, how they start and end."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import yaml
from tornado.web import create_signed_value

from jupyterhub_daas.services.application import end_tasks, openapi_text
from jupyterhub_daas.services.handlers import MAX_BODY
from tests.services.probe import COOKIE_SECRET
from tests.support.lone_service import LoneService
from tests.support.postgres import private_postgres
from tests.support.stack import Stack
from tests.support.waiting import wait_until

# A hub that only starts a service and waits.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""
APIS = ("proposals", "quotas", "accounts", "lifecycle")
TokenOf = Callable[[str], str]


def refusal(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/json"
    error = answer.json()["error"]
    assert {"code", "message", "field"} <= set(error)
    return answer.status_code, error["code"]


@pytest.fixture(scope="module")
def probe(fast_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneService]:
    """The probe, known to a real hub as the account service."""
    made = LoneService(
        "accounts",
        tmp_path_factory.mktemp("probe"),
        module="tests.services.probe",
        hub_api_url=f"http://127.0.0.1:{fast_stack.hub_port}/hub/api",
    )
    yield made.start()
    made.end()


@pytest.mark.parametrize("name", APIS)
class TestEveryService:
    """What each of our services shares."""

    def test_answers_an_unknown_path_like_a_forbidden_one(self, fast_stack: Stack, name: str) -> None:
        for path in ("", "nonsense", "people/amara/nonsense", "people/amara/block/x", "../nonsense"):
            answer = fast_stack.call(name, "GET", path, token=None)
            assert refusal(answer) == (404, "not_found")
            assert "Python" not in answer.text

    def test_sets_the_security_headers(self, fast_stack: Stack, name: str) -> None:
        for path in ("health", "metrics", "openapi.yaml", "docs", "api/v1/nonsense"):
            headers = requests.get(fast_stack.service_url(name) + path, timeout=60).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
            assert headers["Cache-Control"] == "no-store"
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "script-src" not in policy

    def test_is_healthy_with_its_database(self, fast_stack: Stack, name: str) -> None:
        answer = requests.get(fast_stack.service_url(name) + "health", timeout=60)
        assert answer.status_code == 200
        assert answer.json()["healthy"] is True
        assert answer.json()["parts"]["database"] is True

    def test_counts_and_times_its_requests(self, fast_stack: Stack, name: str) -> None:
        def refused() -> float:
            text = requests.get(fast_stack.service_url(name) + "metrics", timeout=60).text
            label = f'daas_requests_total{{method="GET",service="{name}",status="404"}}'
            assert f'daas_request_seconds_count{{service="{name}"}}' in text
            return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(label))

        before = refused()
        fast_stack.call(name, "GET", "nonsense", token=None)
        assert refused() == before + 1

    def test_serves_its_contract_and_renders_it(self, fast_stack: Stack, name: str) -> None:
        contract = requests.get(fast_stack.service_url(name) + "openapi.yaml", timeout=60)
        assert contract.text == openapi_text(name)
        document = yaml.safe_load(contract.text)
        assert document["openapi"].startswith("3.1")
        page = requests.get(fast_stack.service_url(name) + "docs", timeout=60)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        for path in document["paths"]:
            assert f"<code>{path}</code>" in page.text
        # No script, and nothing from elsewhere.
        assert not re.search(r"<script|<link|<img|\bsrc=|@import|url\(", page.text)

    def test_the_contract_names_every_answer_that_all_routes_share(self, name: str) -> None:
        document = yaml.safe_load(openapi_text(name))
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if method in ("get", "put", "post", "patch", "delete"):
                    assert {"401", "503"} <= set(operation["responses"]), f"{method} {path}"
                    assert operation["operationId"]
                    assert operation["summary"]

    def test_writes_no_token_to_the_log(self, fast_stack: Stack, token_of: TokenOf, name: str) -> None:
        token = token_of("amara")
        fast_stack.call(name, "GET", "people/amara/standing", token=token)
        fast_stack.call(name, "GET", f"people/amara/standing?token={token}", token=None)
        assert token not in fast_stack.log()
        assert fast_stack.service_token not in fast_stack.log()


class TestWhoIsLetIn:
    """Tokens and cookies."""

    def test_takes_both_spellings_of_a_token(
        self, fast_stack: Stack, probe: LoneService, token_of: TokenOf
    ) -> None:
        for word in ("token", "Bearer", "bearer"):
            answer = probe.call("GET", "probe", headers={"Authorization": f"{word} {token_of('amara')}"})
            assert (answer.json()["name"], answer.json()["kind"]) == ("amara", "user")
        answer = probe.call("GET", "probe", token=fast_stack.service_token)
        assert (answer.json()["name"], answer.json()["kind"]) == ("tests", "service")

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": "token "},
            {"Authorization": "token nonsense"},
            {"Authorization": "Basic YW1hcmE6eA=="},
            {"Authorization": "token a b"},
            {"Authorization": "x" * 5000},
            {"Cookie": "service-accounts=nonsense"},
        ],
    )
    def test_refuses_what_is_no_token(self, probe: LoneService, headers: dict[str, str]) -> None:
        answer = probe.call("GET", "probe", headers=headers)
        assert refusal(answer) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="jupyterhub"'

    def test_refuses_a_token_in_the_address(self, probe: LoneService, token_of: TokenOf) -> None:
        answer = probe.call("GET", "probe", params={"token": token_of("amara")})
        assert refusal(answer) == (401, "unauthenticated")
        assert "Set-Cookie" not in answer.headers

    def test_refuses_a_token_for_another_service(self, fast_stack: Stack, probe: LoneService) -> None:
        token = fast_stack.token("amara", scopes=["access:services!service=quotas", "read:users!user"])
        assert refusal(probe.call("GET", "probe", token=token)) == (401, "unauthenticated")

    def test_a_cookie_needs_the_xsrf_token_for_a_change(self, probe: LoneService, token_of: TokenOf) -> None:
        signed = create_signed_value(COOKIE_SECRET, "service-accounts", token_of("bruno")).decode()
        session = requests.Session()
        session.cookies.set("service-accounts", signed, path=probe.prefix)
        url = f"{probe.url}api/v1/probe"
        page = session.get(url, headers={"Sec-Fetch-Mode": "navigate"}, timeout=60)
        assert page.json()["name"] == "bruno"
        change = {"number": 5}
        for headers in ({}, {"X-XSRFToken": "nonsense"}, {"X-XSRFToken": ""}):
            refused = session.post(url, json=change, headers=headers, timeout=60)
            assert refusal(refused)[0] in (401, 403)
        headers = {"X-XSRFToken": page.json()["xsrf"]}
        assert session.post(url, json=change, headers=headers, timeout=60).json() == change
        # Another person's XSRF token is none.
        session.cookies.set(
            "service-accounts",
            create_signed_value(COOKIE_SECRET, "service-accounts", token_of("amara")).decode(),
            path=probe.prefix,
        )
        assert refusal(session.post(url, json=change, headers=headers, timeout=60))[0] in (401, 403)
        # A token in the header needs none.
        answer = probe.call("POST", "probe", token=token_of("bruno"), json=change)
        assert answer.json() == change

    def test_a_hub_that_is_away_is_no_refusal(self, tmp_path: Path) -> None:
        service = LoneService("accounts", tmp_path).start()
        try:
            assert refusal(service.call("GET", "conditions")) == (401, "unauthenticated")
            answer = service.call("GET", "conditions", token="0" * 32)
            assert refusal(answer) == (503, "upstream_unavailable")
            assert answer.json()["error"]["service"] == "hub"
            assert "Traceback" not in service.log()
        finally:
            service.end()


class TestWhatMayComeIn:
    """Bodies, queries and methods."""

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"null",
            b"5",
            b"[]",
            b'{"number": "x"}',
            b'{"number": -1}',
            b'{"number": 1e400}',
            b"\xff\xfe",
        ],
    )
    def test_refuses_a_body_of_another_form(self, probe: LoneService, token_of: TokenOf, body: bytes) -> None:
        answer = probe.call("POST", "probe", token=token_of("amara"), data=body)
        assert refusal(answer) == (400, "invalid_input")

    def test_names_the_field_and_repeats_nothing(self, probe: LoneService, token_of: TokenOf) -> None:
        for body, field in (({"number": "my-secret"}, "number"), ({"my-other": "my-secret"}, "my-other")):
            answer = probe.call("POST", "probe", token=token_of("amara"), json=body)
            assert refusal(answer) == (400, "invalid_input")
            assert answer.json()["error"]["field"] == field
            assert "my-secret" not in answer.text

    def test_refuses_a_body_that_is_too_large(self, probe: LoneService, token_of: TokenOf) -> None:
        fits = b'{"number": 1' + b" " * (MAX_BODY - 13) + b"}"
        assert len(fits) == MAX_BODY
        assert probe.call("POST", "probe", token=token_of("amara"), data=fits).status_code == 200
        answer = probe.call("POST", "probe", token=token_of("amara"), data=fits + b" ")
        assert refusal(answer) == (413, "too_large")

    def test_survives_a_body_beyond_all_measure(self, probe: LoneService, token_of: TokenOf) -> None:
        try:
            answer = probe.call("POST", "probe", token=token_of("amara"), data=b" " * (32 * MAX_BODY))
            assert 400 <= answer.status_code < 500
        except requests.RequestException:
            # Closed while the body was still coming.
            pass
        assert probe.call("GET", "probe", token=token_of("amara")).status_code == 200

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("number=1&number=1", "number"),
            ("number=x", "number"),
            ("number=-1", "number"),
            ("number=%ff", "number"),
            ("nonsense=1", "nonsense"),
        ],
    )
    def test_refuses_a_query_of_another_form(
        self, probe: LoneService, token_of: TokenOf, query: str, field: str
    ) -> None:
        answer = probe.call("GET", f"probe?{query}", token=token_of("amara"))
        assert refusal(answer) == (400, "invalid_input")
        assert answer.json()["error"]["field"] == field

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
    def test_refuses_other_methods(self, probe: LoneService, token_of: TokenOf, method: str) -> None:
        answer = probe.call(method, "probe", token=token_of("amara"))
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET, POST"
        if method != "HEAD":
            assert refusal(answer) == (405, "method_not_allowed")

    def test_refuses_get_where_a_change_is_due(self, fast_stack: Stack, token_of: TokenOf) -> None:
        answer = fast_stack.call("accounts", "GET", "people/amara/block", token=token_of("sofia"))
        assert refusal(answer) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "DELETE, PUT"

    def test_refuses_a_path_that_is_no_text(
        self, fast_stack: Stack, tmp_path: Path, token_of: TokenOf
    ) -> None:
        # The proxy refuses it by itself: so it is asked past the proxy.
        hub = f"http://127.0.0.1:{fast_stack.hub_port}/hub/api"
        service = LoneService("accounts", tmp_path, hub_api_url=hub).start()
        try:
            answer = service.call("PUT", "people/amara/favourites/%ff", token=token_of("amara"))
            assert refusal(answer)[0] in (400, 404)
        finally:
            service.end()

    def test_tells_nothing_of_its_own_faults(self, probe: LoneService, token_of: TokenOf) -> None:
        answer = probe.call("GET", "failing", token=token_of("amara"))
        assert refusal(answer) == (500, "internal")
        assert "a-detail" not in answer.text
        assert "a-detail-that-must-not-leave" in probe.log()


class TestStartAndEnd:
    """As the hub starts and ends them, and as it does not."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ends_when_asked(self, tmp_path: Path, number: int) -> None:
        service = LoneService("accounts", tmp_path).start()
        assert service.end(number) == 0
        assert "Traceback" not in service.log()

    def test_ends_with_the_hub_that_started_it(self, tmp_path: Path) -> None:
        service = LoneService("accounts", tmp_path)
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, service.module],
            env=service.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: _answers(service.url), 30, what="it answers")
        parent.kill()
        parent.wait()
        parent.stdout.close()
        wait_until(lambda: not _runs(pid), 10, what="it has ended")

    def test_ends_what_has_to_be_told_twice(self) -> None:
        async def stubborn() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()

        async def ended() -> bool:
            task = asyncio.ensure_future(stubborn())
            await asyncio.sleep(0)
            await end_tasks()
            return task.done()

        # In a thread: what runs the tests has a loop of its own.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: asyncio.run(ended())).result(30)

    @pytest.mark.parametrize(
        ("environment", "settings", "named"),
        [
            ({"DAAS_SETTINGS": "/nonexistent/daas.yaml"}, "", "/nonexistent/daas.yaml: No such file"),
            ({}, "conditions: {version: 5, colour: red}", "conditions.colour"),
            ({}, "a: [", "daas.yaml"),
            ({"DAAS_DATABASE_URL": "mysql://u:my-secret@host/db"}, "", "use sqlite or postgresql"),
            ({"DAAS_DATABASE_URL": "nonsense"}, "", "The database URL can't be read"),
            # As for a service whose hub was killed before it had come up.
            ({"DAAS_PARENT": "1"}, "", "ended before it began"),
        ],
    )
    def test_says_what_is_wrong_and_does_not_start(
        self, tmp_path: Path, environment: dict[str, str], settings: str, named: str
    ) -> None:
        service = LoneService("accounts", tmp_path, environment=environment, settings=settings).launch()
        assert service.process is not None
        assert service.process.wait(timeout=120) == 1
        assert named in service.log()
        assert "Traceback" not in service.log()
        assert "my-secret" not in service.log()

    def test_names_the_variable_that_is_missing(self, tmp_path: Path) -> None:
        service = LoneService("accounts", tmp_path)
        del service.environment["DAAS_DATABASE_URL"]
        service.launch()
        assert service.process is not None
        assert service.process.wait(timeout=120) == 1
        assert "DAAS_DATABASE_URL is missing" in service.log()

    def test_is_unhealthy_while_its_neighbours_are_away(self, tmp_path: Path) -> None:
        service = LoneService("lifecycle", tmp_path).start()
        try:
            parts = {"database": True, "hub": False, "quotas": False, "accounts": False, "rounds": True}
            assert service.health() == (503, parts)
        finally:
            service.end()

    def test_outlives_its_database(self, fast_stack: Stack, tmp_path: Path, token_of: TokenOf) -> None:
        with private_postgres() as server:
            service = LoneService(
                "accounts",
                tmp_path,
                hub_api_url=f"http://127.0.0.1:{fast_stack.hub_port}/hub/api",
                database_url=server.create_database("daas"),
            ).start()
            path, given = "people/amara/preferences", {"theme": "dark"}
            try:
                assert service.call("PUT", path, token=token_of("amara"), json=given).status_code == 200
                server.stop()
                for method, body in (("GET", None), ("PUT", {})):
                    answer = service.call(method, path, token=token_of("amara"), json=body)
                    assert refusal(answer) == (503, "upstream_unavailable")
                assert service.health() == (503, {"database": False})
                server.start()
                wait_until(lambda: service.health()[0] == 200, 20, what="it is healthy again")
                assert service.call("GET", path, token=token_of("amara")).json() == given
            finally:
                service.end()


def _answers(url: str) -> bool:
    try:
        return requests.get(url + "docs", timeout=5).ok
    except requests.RequestException:
        return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
