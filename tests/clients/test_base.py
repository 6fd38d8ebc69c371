"""A client trusts no answer: it has a deadline, a size, no redirects, and gives our errors back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from jupyterhub_daas.clients.base import MAX_ANSWER, ServiceClient, segment
from jupyterhub_daas.clients.hub import HubClient, HubRefusalError
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import (
    NotFoundError,
    QuotaExceededError,
    UpstreamAnswerError,
    UpstreamUnavailableError,
)
from tests.support.threaded_server import Server

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TOKEN = "a-token-that-is-secret"


class Misbehaving:
    """A server that answers each request with what the test put there, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answer: Handler | None = None
        self.requests: list[tuple[str, str, str | None]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path, request.headers.get("Authorization")))
        assert self.answer is not None
        return await self.answer(request)


@pytest.fixture
async def server() -> AsyncIterator[Misbehaving]:
    misbehaving = Misbehaving()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", misbehaving.handle)
    serving = await Server.of(application)
    misbehaving.url = f"http://127.0.0.1:{serving.port}/services/quotas/"
    yield misbehaving
    await serving.close()


@pytest.fixture
async def client(server: Misbehaving) -> AsyncIterator[ServiceClient]:
    made = ServiceClient(server.url, TOKEN, deadline=0.5)
    yield made
    await made.close()


def json_answer(content: object, status: int = 200) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(content, status=status)

    return answer


async def test_sends_the_token_in_the_header_only(server: Misbehaving, client: ServiceClient) -> None:
    server.answer = json_answer({"a": 1})
    assert await client.call("GET", "people/x", query={"search": "é ?&", "state": None}) == {"a": 1}
    assert server.requests == [
        ("GET", "/services/quotas/api/v1/people/x?search=%C3%A9+?%26", f"token {TOKEN}")
    ]


async def test_raises_what_the_service_raised(server: Misbehaving, client: ServiceClient) -> None:
    error = {"code": "quota_exceeded", "message": "Full.", "field": None, "limit": 5, "dimension": "machines"}
    server.answer = json_answer({"error": error}, 409)
    with pytest.raises(QuotaExceededError, match="Full") as raised:
        await client.call("PUT", "reservations/1")
    assert raised.value.details == {"limit": 5, "dimension": "machines"}


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        ({"error": {"code": "made_up", "message": "x"}}, 400, UpstreamAnswerError),
        ("no object", 404, NotFoundError),
        ({"error": "text"}, 500, UpstreamUnavailableError),
        ({}, 502, UpstreamUnavailableError),
        ({}, 503, UpstreamUnavailableError),
        ({}, 302, UpstreamAnswerError),
    ],
)
async def test_converts_what_the_contract_lacks(
    server: Misbehaving, client: ServiceClient, content: object, status: int, expected: type[Exception]
) -> None:
    server.answer = json_answer(content, status)
    with pytest.raises(expected) as raised:
        await client.call("GET", "x")
    assert TOKEN not in str(raised.value)


async def test_gives_up_at_its_deadline(server: Misbehaving, client: ServiceClient) -> None:
    answered = asyncio.Event()

    async def begin_only(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"[")
        await answered.wait()
        return response

    server.answer = begin_only
    with pytest.raises(UpstreamUnavailableError):
        await client.call("GET", "x")
    answered.set()


async def test_refuses_an_answer_without_end(server: Misbehaving) -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b'"' + b"x" * (MAX_ANSWER + 1) + b'"', content_type="application/json")

    server.answer = large
    client = ServiceClient(server.url, TOKEN)
    with pytest.raises(UpstreamAnswerError):
        await client.call("GET", "x")
    await client.close()


async def streamed(client: ServiceClient) -> list[bytes]:
    return [chunk async for chunk in client.stream("audit/export", query={"from": "x", "to": None})]


async def test_streams_more_than_an_answer_may_have(server: Misbehaving, client: ServiceClient) -> None:
    async def long(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(5):
            await response.write(b"x" * (MAX_ANSWER // 4))
        return response

    server.answer = long
    assert sum(map(len, await streamed(client))) == 5 * (MAX_ANSWER // 4)
    assert server.requests == [("GET", "/services/quotas/api/v1/audit/export?from=x", f"token {TOKEN}")]


async def test_a_stream_that_is_cut_off_is_no_whole(server: Misbehaving, client: ServiceClient) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    server.answer = cut
    with pytest.raises(UpstreamUnavailableError):
        await streamed(client)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, NotFoundError),
        (302, UpstreamAnswerError),
        (204, UpstreamAnswerError),
        (502, UpstreamUnavailableError),
    ],
)
async def test_a_stream_that_is_refused_raises(
    server: Misbehaving, client: ServiceClient, status: int, expected: type[Exception]
) -> None:
    server.answer = json_answer({}, status)
    with pytest.raises(expected):
        await streamed(client)


async def test_says_which_service_is_away() -> None:
    client = ServiceClient("http://127.0.0.1:9/services/quotas/", TOKEN)
    client.service = "quotas"
    with pytest.raises(UpstreamUnavailableError, match="quotas") as raised:
        await client.call("GET", "x")
    assert raised.value.details == {"service": "quotas"}
    await client.close()


async def test_refuses_a_model_that_does_not_fit(client: ServiceClient) -> None:
    with pytest.raises(UpstreamAnswerError):
        client.parse(Person, {"username": "amara", "uid": 0, "gid": 1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20180301", "20180301"), ("a/b", "a%2Fb"), ("../x", "..%2Fx"), ("a b?", "a%20b%3F"), ("é", "%C3%A9")],
)
def test_quotes_a_segment(text: str, expected: str) -> None:
    assert segment(text) == expected


@pytest.mark.parametrize("text", ["", ".", ".."])
def test_refuses_a_segment_that_climbs(text: str) -> None:
    with pytest.raises(NotFoundError):
        segment(text)


async def test_a_segment_stays_one_part_of_the_path(server: Misbehaving, client: ServiceClient) -> None:
    server.answer = json_answer({})
    await client.call("GET", f"people/{segment('../../x')}/quota")
    assert server.requests[0][1] == "/services/quotas/api/v1/people/..%2F..%2Fx/quota"


async def test_the_hub_client_keeps_the_sentence_of_a_refusal(server: Misbehaving) -> None:
    server.answer = json_answer({"status": 409, "message": "This start does not fit your quota."}, 409)
    client = HubClient(server.url, TOKEN)
    with pytest.raises(HubRefusalError, match="does not fit your quota") as raised:
        await client.start("amara", "brave-curie", {})
    assert raised.value.details == {"status": 409}
    await client.close()
