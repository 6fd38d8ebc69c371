"""The base of all clients: one deadline, no redirects, capped answers, and our errors back as what they were.

A client belongs to one event loop. The token is sent in the header only; neither it nor the text of an
answer enters a message.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from jupyterhub_daas.errors import (
    DaasError,
    NotFoundError,
    UpstreamAnswerError,
    UpstreamUnavailableError,
    error_classes,
)

AnyModel = TypeVar("AnyModel", bound=BaseModel)

DEADLINE_SECONDS = 5.0
# How long a stream may pause.
PAUSE_SECONDS = 30.0
MAX_ANSWER = 4 * 1024 * 1024


def segment(text: str) -> str:
    """Quote a text for use as one part of a path."""
    if not text.strip("."):
        # Such a part would climb in the path; nothing of ours is named so.
        raise NotFoundError("There is nothing here for you.")
    return quote(text, safe="")


class ServiceClient:
    """Speak with one service at its address, as whoever the token belongs to."""

    service = "service"
    root = "api/v1/"

    def __init__(self, url: str, token: str, *, deadline: float = DEADLINE_SECONDS) -> None:
        self._url = url.rstrip("/") + "/" + self.root
        self._token = token
        self._deadline = deadline
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _connected(self) -> aiohttp.ClientSession:
        # Made at first use: it binds itself to the running loop.
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._deadline), raise_for_status=False
            )
        return self._session

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: BaseModel | Mapping[str, Any] | None = None,
        token: str | None = None,
    ) -> Any:
        """Send a request and return the JSON of its answer; `token` acts for somebody else than usual."""
        headers = self._headers(token, "application/json")
        data: str | None = None
        if body is not None:
            data = _json(body)
            headers["Content-Type"] = "application/json"
        try:
            async with self._connected().request(
                method,
                self._url + path,
                params=_given(query),
                data=data,
                headers=headers,
                allow_redirects=False,
            ) as response:
                return await self._read(response)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise self._away() from error

    async def stream(
        self, path: str, *, query: Mapping[str, str | int | None] | None = None, token: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield an answer of any size as it comes; raise if it is cut off."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._deadline, sock_read=PAUSE_SECONDS)
        try:
            async with self._connected().get(
                self._url + path,
                params=_given(query),
                headers=self._headers(token, "*/*"),
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                if response.status != 200:
                    await self._read(response)
                    raise self._unexpected(f"status {response.status}")
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise self._away() from error

    def _headers(self, token: str | None, accept: str) -> dict[str, str]:
        return {"Authorization": f"token {token or self._token}", "Accept": accept}

    def _away(self) -> UpstreamUnavailableError:
        return UpstreamUnavailableError(
            f"The {self.service} service does not answer. Please try again in a minute.",
            service=self.service,
        )

    async def _read(self, response: aiohttp.ClientResponse) -> Any:
        raw = await response.content.read(MAX_ANSWER + 1)
        while len(raw) <= MAX_ANSWER and (more := await response.content.read(MAX_ANSWER + 1 - len(raw))):
            raw += more
        if len(raw) > MAX_ANSWER:
            raise self._unexpected("too large an answer")
        if response.status in (502, 504):
            raise self._away()
        content = self._decode(raw) if raw else None
        if response.status >= 400:
            raise self._error(response.status, content)
        if response.status >= 300:
            raise self._unexpected("a redirect")
        return content

    def _decode(self, raw: bytes) -> Any:
        try:
            return _ANY.validate_json(raw)
        except ValidationError:
            return None

    def _error(self, status: int, content: Any) -> DaasError:
        error = content.get("error") if isinstance(content, dict) else None
        if isinstance(error, dict) and isinstance(error.get("code"), str):
            cls = error_classes().get(error["code"])
            if cls is not None:
                details = {k: v for k, v in error.items() if k not in ("code", "message", "field")}
                return cls(str(error.get("message", "")), field=error.get("field"), **details)
        if status == 404:
            return NotFoundError("There is nothing here for you.")
        if status >= 500:
            return self._away()
        return self._unexpected(f"status {status}")

    def _unexpected(self, what: str) -> UpstreamAnswerError:
        return UpstreamAnswerError(f"The {self.service} service gave {what}.", service=self.service)

    def parse(self, model: type[AnyModel], content: Any) -> AnyModel:
        """Validate an answer: a service may be a facility's own."""
        try:
            return model.model_validate(content)
        except ValidationError as error:
            raise self._unexpected("an answer that its contract does not allow") from error


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def _given(query: Mapping[str, str | int | None] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (query or {}).items() if value is not None}


def _json(body: BaseModel | Mapping[str, Any]) -> str:
    if isinstance(body, BaseModel):
        return body.model_dump_json()
    return _ANY.dump_json(dict(body)).decode()
