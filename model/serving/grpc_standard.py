"""gRPC's standard services, which health checks and clients without .proto files use: health and reflection.

The streams of the packages' own servicers end only when the grace period does. These end when the server stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from model.serving.errors import ServiceNotFound, TooManyWatchers
from model.serving.predictor import DataPlane

MAX_WATCHERS = 1024  # streams open at the same time; a client may keep one open without limit
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
# Both have the same messages. Newer clients try the second one first.
REFLECTION_SERVICES = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


class HealthServicer:
    """Standard health service of gRPC, for "" (the server), its services and the served model; equal to readiness over REST."""

    def __init__(self, plane: DataPlane, model: str, services: tuple[str, ...], stopping: asyncio.Event) -> None:
        self._plane = plane
        self._known = (model, *services)
        self._stopping = stopping
        self._watchers = 0

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802, the protocol's name
        """Return the status. Raises ServiceNotFound."""
        if not self._knows(request.service):
            raise ServiceNotFound(request.service, self._known)
        return health_pb2.HealthCheckResponse(status=await self._status())

    async def Watch(self, request: Any) -> AsyncIterator[Any]:  # noqa: N802, the protocol's name
        """Yield the status, and once more when the server stops, which ends the stream. Raises TooManyWatchers."""
        if self._watchers >= MAX_WATCHERS:
            raise TooManyWatchers(MAX_WATCHERS)
        self._watchers += 1
        try:
            known = self._knows(request.service)
            yield health_pb2.HealthCheckResponse(status=await self._status() if known else SERVICE_UNKNOWN)
            if not self._stopping.is_set():
                await self._stopping.wait()
                if known:
                    yield health_pb2.HealthCheckResponse(status=NOT_SERVING)
        finally:
            self._watchers -= 1

    def _knows(self, service: str) -> bool:
        return not service or service in self._known

    async def _status(self) -> Any:
        return SERVING if await self._plane.ready() else NOT_SERVING


class StoppableReflection(ReflectionServicer):  # type: ignore[misc]
    """Server reflection, for clients without .proto files. Its streams end when the server stops, which waits for streams."""

    def __init__(self, services: Sequence[str], stopping: asyncio.Event) -> None:
        super().__init__((*services, REFLECTION_SERVICES[0]))
        self._stopping = stopping

    async def answers(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield a response to each request, until the client or the server stops."""
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
