"""gRPC's server reflection: the services and their messages, for clients that have no .proto file, such as grpcurl."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from grpc_reflection.v1alpha._async import ReflectionServicer

# The messages of both are the same; the second is what newer clients ask for first.
NAMES = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


class Reflection(ReflectionServicer):  # type: ignore[misc]
    """The package's servicer, whose streams end when the server stops: it would wait for them."""

    def __init__(self, services: Sequence[str], stopping: asyncio.Event) -> None:
        super().__init__((*services, NAMES[0]))
        self._stopping = stopping

    async def answers(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """An answer to each request, until the client or the server stops."""
        async for answer in super().ServerReflectionInfo(self._until_stopping(requests), None):
            yield answer

    async def _until_stopping(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        stopped = asyncio.ensure_future(self._stopping.wait())
        waited_for: set[asyncio.Future[Any]] = {stopped}
        try:
            while True:
                coming = asyncio.ensure_future(anext(requests, None))
                waited_for = {coming, stopped}
                await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
                request = coming.result() if coming.done() else None
                if request is None:
                    return
                yield request
        finally:
            for each in waited_for:
                each.cancel()
