"""gRPC's standard health service, `grpc.health.v1`: whether to send requests to this server, as readiness says it over REST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc_health.v1 import health_pb2 as messages
from kserve.errors import ModelNotFound, ServerNotReady

from model.serving.predictor import Plane
from model.serving.requests import short

WATCHERS = 1024  # streams at a time: each takes memory for as long as its client likes
SERVING = messages.HealthCheckResponse.SERVING
NOT_SERVING = messages.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = messages.HealthCheckResponse.SERVICE_UNKNOWN


class ServiceNotFound(ModelNotFound):  # type: ignore[misc]
    """The health of something else is asked for."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name)
        self.reason = f'Service {short(name)} is not known: expected "", {" or ".join(short(each) for each in known)}.'


class TooManyWatchers(ServerNotReady):  # type: ignore[misc]
    """As many clients watch as may."""

    def __init__(self) -> None:
        super().__init__()
        # Not the SDK's sentence, that the server is not ready.
        self.error_msg = f"{WATCHERS} clients watch already, as many as may. Ask by Check."


class Health:
    """Answers for "" (the server), for the names of its services and for the model that it serves."""

    def __init__(self, plane: Plane, model: str, services: tuple[str, ...], stopping: asyncio.Event) -> None:
        self._plane = plane
        self._known = (model, *services)
        self._stopping = stopping
        self._watchers = 0

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802, the protocol's name
        """The status now. Raises ServiceNotFound."""
        if not self._knows(request.service):
            raise ServiceNotFound(request.service, self._known)
        return messages.HealthCheckResponse(status=await self._status())

    async def Watch(self, request: Any) -> AsyncIterator[Any]:  # noqa: N802, the protocol's name
        """The status now, and once more when the server stops; then the stream ends. Raises TooManyWatchers."""
        if self._watchers >= WATCHERS:
            raise TooManyWatchers
        self._watchers += 1
        try:
            known = self._knows(request.service)
            yield messages.HealthCheckResponse(status=await self._status() if known else SERVICE_UNKNOWN)
            if not self._stopping.is_set():
                await self._stopping.wait()
                if known:
                    yield messages.HealthCheckResponse(status=NOT_SERVING)
        finally:
            self._watchers -= 1

    def _knows(self, service: str) -> bool:
        return not service or service in self._known

    async def _status(self) -> Any:
        return SERVING if await self._plane.ready() else NOT_SERVING
