"""gRPC: the SDK's inference service with versions and with errors that keep the protocol; health checks; reflection.

Labels in order: the SDK's ModelMetadataResponse has no field for them. They come with the `probabilities` output, as
its parameter `labels`, a JSON list.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from time import perf_counter
from typing import Any, NoReturn

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc import (
    StatusCode,
    aio,
    method_handlers_generic_handler,
    stream_stream_rpc_method_handler,
    unary_stream_rpc_method_handler,
    unary_unary_rpc_method_handler,
)
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer
from kserve.errors import InvalidInput
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.utils.utils import to_headers

from model.serving.asgi import LARGEST_AT_ONCE, Intake
from model.serving.errors import ServiceNotFound, TextsTooLarge, TooManyBytesInFlight, TooManyWatchers, error_response, shown
from model.serving.grpc_messages import parts, request_of
from model.serving.metrics import Metrics
from model.serving.predictor import Plane
from model.serving.requests import INPUT, LARGE, Limits, characters_of, count_of, require_bytes

INFER = "ModelInfer"  # the only method whose requests may be large
STREAMS = 1024  # of one connection at a time; its client keeps what is beyond
IDLE_MILLISECONDS = 600_000  # without a call, after which a connection is closed; clients connect again
KEEPALIVE_MILLISECONDS = 60_000
WATCHERS = 1024  # streams at a time: each takes memory for as long as its client likes
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
# The messages of both are the same; the second is what newer clients ask for first.
REFLECTION = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")

logger = logging.getLogger(__name__)


def make_server(
    plane: Plane, metrics: Metrics, *, model: str, max_message_bytes: int, connections: int, stopping: asyncio.Event
) -> aio.Server:
    """The gRPC server of one predictor, not yet listening. At most `connections` clients are let in at a time.

    `stopping` ends the streams of health and reflection.
    """
    server = aio.server(
        options=[
            ("grpc.max_send_message_length", -1),  # what is answered follows from what was asked
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_allowed_incoming_connections", connections),
            ("grpc.max_concurrent_streams", STREAMS),
            ("grpc.max_connection_idle_ms", IDLE_MILLISECONDS),
            ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),  # a client that is gone without a word is found out
            ("grpc.so_reuseport", 0),  # else a second server would take half of the first one's requests
        ],
    )
    inference = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    checking = health_pb2.DESCRIPTOR.services_by_name["Health"]
    reflecting = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    servicer, intake = Servicer(plane), Intake(LARGEST_AT_ONCE * max_message_bytes)
    health = Health(plane, model, (inference.full_name, checking.full_name), stopping)
    reflection = Reflection((inference.full_name, checking.full_name), stopping)

    def handlers(service: ServiceDescriptor, **answers: Callable[..., Any]) -> dict[str, Any]:
        methods = service.methods_by_name
        return {name: _Method(methods[name], answer, metrics, plane.limits, intake).handler() for name, answer in answers.items()}

    inferences = {each.name: getattr(servicer, each.name) for each in inference.methods}
    server.add_generic_rpc_handlers(
        [
            method_handlers_generic_handler(inference.full_name, handlers(inference, **inferences)),
            method_handlers_generic_handler(checking.full_name, handlers(checking, Check=health.Check, Watch=health.Watch)),
        ]
        + [
            method_handlers_generic_handler(name, handlers(reflecting, ServerReflectionInfo=reflection.answers))
            for name in REFLECTION
        ]
    )
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
        for each in request.inputs[:1]:
            require_bytes(each.name, each.datatype.upper())  # the SDK says "invalid content type" of some
            _require_texts(each, raw=bool(request.raw_input_contents))
        self.validate_grpc_request(request)
        asked = request_of(request)
        answer, _ = await self._plane.infer(request=asked, headers=to_headers(context), model_name=request.model_name)
        return answer.to_grpc()

    async def RepositoryModelLoad(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise NotImplementedError("Models are not loaded on request.")

    async def RepositoryModelUnload(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise NotImplementedError("Models are not unloaded on request.")


def _require_texts(tensor: Any, *, raw: bool) -> None:
    """Raise InvalidInput unless texts are there, and nothing else: the SDK looks at no other contents."""
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    for name in filled:
        if name != "bytes_contents":
            raise InvalidInput(f"input {shown(INPUT)} has {name}: expected bytes_contents and no other contents")
    if not (filled or raw) and count_of(tensor.shape) > 0:
        raise InvalidInput(f"input {shown(INPUT)} has no contents: expected bytes_contents or raw_input_contents")


class _Method:
    """One method as the server knows it: turns errors into statuses, and counts each inference request and its status.

    In place of what is generated for it, which answers bytes that are no message with the name of a class.
    """

    def __init__(
        self, method: MethodDescriptor, answer: Callable[..., Any], metrics: Metrics, limits: Limits, intake: Intake
    ) -> None:
        self._method = method
        self._name = method.name
        self._asked, self._answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        self._answer = answer
        self._metrics = metrics
        self._limits = limits
        self._intake = intake

    def handler(self) -> Any:
        """How gRPC is to call it. `answer` takes a request and the context; a stream's takes the request or requests."""
        how = {"request_deserializer": self._read, "response_serializer": self._answered.SerializeToString}
        if self._method.client_streaming:
            return stream_stream_rpc_method_handler(self._outcomes, **how)
        if self._method.server_streaming:
            return unary_stream_rpc_method_handler(self._outcomes, **how)
        return unary_unary_rpc_method_handler(self._outcome, **how)

    def _read(self, sent: bytes) -> _Received:
        """The request; or why it is none, since what is raised here cannot be told in our words."""
        received = _Received()
        try:
            if len(sent) > LARGE:
                self._require_bounded(sent)
                self._intake.take(len(sent))
                received.release = weakref.finalize(received, self._intake.give_back, len(sent))
            received.message = self._asked.FromString(sent)
        except (InvalidInput, TextsTooLarge, TooManyBytesInFlight) as refused:
            received.refused = refused.with_traceback(None)  # a traceback would keep the bytes until garbage is collected
        except DecodeError:
            sentence = f"the request's bytes cannot be read: expected a message {self._asked.DESCRIPTOR.name}"
            received.refused = InvalidInput(sentence)
        return received

    def _require_bounded(self, sent: bytes) -> None:
        """Raise InvalidInput or TextsTooLarge for a large message that asks nothing, or more than one request may."""
        if self._name != INFER:
            raise InvalidInput(f"the request has {len(sent)} bytes: expected at most {LARGE}")
        self._limits.check_size(characters_of(sent))
        for count in parts(sent, self._asked.DESCRIPTOR):
            self._limits.check_parts(count)

    async def _outcome(self, request: _Received, context: Any) -> Any:
        started = perf_counter()
        status = StatusCode.CANCELLED  # what it is if the client leaves
        sentence = ""
        try:
            answer = await self._answer(_readable(request), context)
            status = StatusCode.OK
        except Exception as error:
            outcome = error_response(error)
            status, sentence = outcome.grpc_code, outcome.sentence
            if status is StatusCode.INTERNAL:
                logger.exception("%s failed", self._name)
        finally:
            request.release()
            if self._name == INFER:
                self._metrics.answered("grpc", status.name, perf_counter() - started)
        if status is not StatusCode.OK:
            # gRPC keeps what `abort` raises until garbage is collected, so nothing of the request may hang on it.
            del request
            await context.abort(status, sentence)
        return answer

    async def _outcomes(self, sent: Any, context: Any) -> AsyncIterator[Any]:
        """The answers of a stream to a request, or to several."""
        outcome = None
        try:
            requests = _all_readable(sent) if self._method.client_streaming else _readable(sent)
            async for answer in self._answer(requests):
                yield answer
        except Exception as error:
            outcome = error_response(error)
            if outcome.grpc_code is StatusCode.INTERNAL:
                logger.exception("%s failed", self._name)
        if outcome:
            await context.abort(outcome.grpc_code, outcome.sentence)


class _Received:
    """A request as it came: a message, or the error that it is answered with.

    `release` gives back what it holds of the intake, and may be called again. It is called by itself where a client leaves
    before the request is looked at.
    """

    def __init__(self) -> None:
        self.message: Any = None
        self.refused: Exception | None = None
        self.release: Callable[[], object] = int


def _readable(received: _Received) -> Any:
    """The request, if it was one. Raises InvalidInput, TextsTooLarge, TooManyBytesInFlight."""
    if received.refused is not None:
        raise received.refused
    return received.message


async def _all_readable(requests: AsyncIterator[_Received]) -> AsyncIterator[Any]:
    async for each in requests:
        yield _readable(each)


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
        return health_pb2.HealthCheckResponse(status=await self._status())

    async def Watch(self, request: Any) -> AsyncIterator[Any]:  # noqa: N802, the protocol's name
        """The status now, and once more when the server stops; then the stream ends. Raises TooManyWatchers."""
        if self._watchers >= WATCHERS:
            raise TooManyWatchers(WATCHERS)
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


class Reflection(ReflectionServicer):  # type: ignore[misc]
    """The package's servicer, whose streams end when the server stops: it would wait for them."""

    def __init__(self, services: Sequence[str], stopping: asyncio.Event) -> None:
        super().__init__((*services, REFLECTION[0]))
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
