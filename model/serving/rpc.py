"""gRPC: the SDK's servicer, with versions, and errors that keep the protocol.

Labels in order: the SDK's ModelMetadataResponse has no field for them. They come with the `probabilities` output, as
its parameter `labels`, a JSON list.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, NoReturn

from grpc import StatusCode, aio
from grpc_interceptor.server import AsyncServerInterceptor
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer

from model.serving.metrics import Metrics
from model.serving.outcomes import outcome_of
from model.serving.predictor import Plane
from model.serving.protocol import require_bytes

logger = logging.getLogger(__name__)


def make_server(plane: Plane, metrics: Metrics, *, max_message_bytes: int) -> aio.Server:
    """The gRPC server of one predictor, not yet listening."""
    server = aio.server(
        interceptors=(Outcomes(metrics),),
        options=[
            ("grpc.max_send_message_length", -1),  # what is answered follows from what was asked
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.so_reuseport", 0),  # else a second server would take half of the first one's requests
        ],
    )
    add_GRPCInferenceServiceServicer_to_server(Servicer(plane), server)
    return server


class Servicer(InferenceServicer):  # type: ignore[misc]
    """The SDK's servicer where it is right."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane, None)
        self._plane = plane

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802, the protocol's name
        self._plane.find(request.name, request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        self._plane.find(request.name, request.version)
        found = await self._plane.model_metadata(request.name)
        del found["parameters"]
        return messages.ModelMetadataResponse(**found)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._plane.find(request.model_name, request.model_version)
        for each in request.inputs:
            require_bytes(each.name, each.datatype.upper())  # the SDK says "invalid content type" of some
        return await super().ModelInfer(request, context)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise NotImplementedError("Models are not loaded on request.")

    async def RepositoryModelUnload(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise NotImplementedError("Models are not unloaded on request.")


class Outcomes(AsyncServerInterceptor):
    """Turns errors into statuses, and counts each inference request and its status."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def intercept(
        self, method: Callable[[Any, Any], Awaitable[Any]], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        started = perf_counter()
        status = StatusCode.CANCELLED  # what it is if the client leaves
        try:
            answer = await method(request_or_iterator, context)
            status = StatusCode.OK
        except Exception as error:
            outcome = outcome_of(error)
            status = outcome.grpc
            if status is StatusCode.INTERNAL:
                logger.exception("%s failed", method_name)
            await context.abort(status, outcome.sentence)
        finally:
            if method_name.endswith("/ModelInfer"):
                self._metrics.answered("grpc", status.name, perf_counter() - started)
        return answer
