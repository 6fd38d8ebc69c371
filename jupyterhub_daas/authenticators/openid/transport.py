"""Fetch JSON from an identity provider.

No redirect is followed, an answer is read up to a fixed size and in a fixed time, and neither the answer nor
the request ever gets into a message: both hold tokens.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from jupyterhub_daas.errors import UpstreamAnswerError, UpstreamUnavailableError

LARGEST_ANSWER = 64 * 1024
TIMEOUT = 5.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_BUSY = 429


class Answer(NamedTuple):
    """Status and JSON object of an answer below 500."""

    status: int
    body: dict[str, Any]


def is_protected(url: str) -> bool:
    """Tell whether a URL is safe to send secrets to: HTTPS, or plain HTTP that stays on this machine."""
    parts = urlsplit(url)
    if parts.username or parts.password or parts.fragment or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


async def fetch(
    url: str,
    *,
    provider: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Answer:
    """GET a URL, or POST a form to it; raise UpstreamError if the provider is away or answers nonsense."""
    method = "GET" if form is None else "POST"
    asked = {"Accept": "application/json", **(headers or {})}
    limit = aiohttp.ClientTimeout(total=timeout)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=True) as session,
            session.request(method, url, data=form, headers=asked, allow_redirects=False) as response,
        ):
            status, body = response.status, await _read(response, provider)
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        raise no_answer(provider) from error
    if status >= 500 or status == _BUSY:
        raise UpstreamUnavailableError(
            f"{provider} reports a fault of its own. Please try again in a few minutes.", service=provider
        )
    if 300 <= status < 400:
        raise nonsense(provider)
    return Answer(status, _parse(body, status, provider))


async def _read(response: aiohttp.ClientResponse, provider: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(LARGEST_ANSWER):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise nonsense(provider)
    return bytes(body)


def _parse(body: bytes, status: int, provider: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        if status >= 400:  # a refusal needs no body
            return {}
        raise nonsense(provider) from error
    if not isinstance(found, dict):
        raise nonsense(provider)
    return found


def no_answer(provider: str) -> UpstreamUnavailableError:
    """Return the error of a provider that is away or does not answer in time."""
    return UpstreamUnavailableError(
        f"{provider} does not answer. Please try again in a few minutes.", service=provider
    )


def nonsense(provider: str) -> UpstreamAnswerError:
    """Build the error for an answer that no provider should give."""
    return UpstreamAnswerError(
        f"{provider} gave an answer that we cannot accept. Please try again; if it stays, tell the facility.",
        service=provider,
    )
