"""Limit of the bytes of a request. A body that exceeds it gets a problem document."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware. Reads a body only up to the limit, and not at all if its Content-Length exceeds the limit."""

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
