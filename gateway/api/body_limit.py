"""Limit of the bytes of a request. FastAPI's own answers in plain text; here the error becomes a problem document."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware. A body that is too large is not read to its end; one that says so is not read at all."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("Content-Length", "")
        announced = int(length) if length.isdecimal() else 0
        size = 0

        async def receive_within_limit() -> Message:
            nonlocal size
            message = await receive() if announced <= self._limit else None
            if message is not None:
                size += len(message.get("body", b""))
            if message is None or size > self._limit:
                raise HTTPException(413, f"The body is too large: expected at most {self._limit} bytes")
            return message

        await self._app(scope, receive_within_limit, send)
