"""gRPC: the SDK's inference service, with versions and with errors that follow the protocol; health checks; reflection.

The SDK's ModelMetadataResponse has no field for the list of labels. The output `probabilities` has it in its parameter
`labels`, as JSON.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
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
    stream_unary_rpc_method_handler,
)
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from kserve.errors import InvalidInput
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.utils.utils import to_headers

from model.serving.asgi import MAX_BODIES_IN_FLIGHT, InFlightBytes, Reservation
from model.serving.errors import error_response, short_json
from model.serving.grpc_arrivals import WINDOW_BYTES, ArrivalLimiter
from model.serving.grpc_messages import part_counts, to_infer_request
from model.serving.grpc_standard import REFLECTION_SERVICES, HealthServicer, StoppableReflection
from model.serving.metrics import Metrics
from model.serving.parsing_turns import ParsingTurns
from model.serving.predictor import DataPlane
from model.serving.requests import INPUT_NAME, LARGE_REQUEST_BYTES, Limits, count_characters, require_bytes_datatype, text_count

INFER = "ModelInfer"  # the only method whose requests may be large
MAX_STREAMS_PER_CONNECTION = 1024  # open at the same time; the client queues further ones
MAX_IDLE_MILLISECONDS = 60_000  # a connection is closed after this time without a call
MAX_CONNECTIONS = 2048
MAX_MESSAGE_BYTES = 8 * 2**20
KEEPALIVE_MILLISECONDS = 60_000
MAX_READERS = 8  # messages that arrive at the same time
MAX_REFLECTION_READERS = 2  # the same for reflection, whose clients may leave their streams open

logger = logging.getLogger(__name__)


def make_server(
    plane: DataPlane,
    metrics: Metrics,
    *,
    model: str,
    max_message_bytes: int,
    connections: int,
    turns: ParsingTurns,
    stopping: asyncio.Event,
) -> aio.Server:
    """Return the gRPC server of one predictor, which does not listen yet.

    connections: maximum number of connected clients, if it is less than MAX_CONNECTIONS. turns: those of the REST server.
    stopping: event that ends the streams of health and reflection.
    """
    server = aio.server(
        options=[
            ("grpc.max_send_message_length", -1),  # no limit: the request limits its response
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
            ("grpc.http2.bdp_probe", 0),  # it would enlarge that window
            ("grpc.max_allowed_incoming_connections", min(connections, MAX_CONNECTIONS)),
            ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
            ("grpc.max_connection_idle_ms", MAX_IDLE_MILLISECONDS),
            ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),  # detects clients that vanished
            ("grpc.so_reuseport", 0),  # else a second server could listen on the port and get half of the requests
        ],
    )
    inference = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    checking = health_pb2.DESCRIPTOR.services_by_name["Health"]
    reflecting = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    servicer, in_flight = PredictorServicer(plane), InFlightBytes(MAX_BODIES_IN_FLIGHT * max_message_bytes)
    health = HealthServicer(plane, model, (inference.full_name, checking.full_name), stopping)
    reflection = StoppableReflection((inference.full_name, checking.full_name), stopping)

    arrivals, reflection_arrivals = ArrivalLimiter(readers=MAX_READERS), ArrivalLimiter(readers=MAX_REFLECTION_READERS)

    def handlers(service: ServiceDescriptor, **answers: Callable[..., Any]) -> dict[str, Any]:
        methods = service.methods_by_name
        arriving = reflection_arrivals if service is reflecting else arrivals
        return {
            name: _MethodHandler(methods[name], answer, metrics, plane.limits, in_flight, arriving, turns).handler()
            for name, answer in answers.items()
        }

    inferences = {each.name: getattr(servicer, each.name) for each in inference.methods}
    server.add_generic_rpc_handlers(
        [
            method_handlers_generic_handler(inference.full_name, handlers(inference, **inferences)),
            method_handlers_generic_handler(checking.full_name, handlers(checking, Check=health.Check, Watch=health.Watch)),
        ]
        + [
            method_handlers_generic_handler(name, handlers(reflecting, ServerReflectionInfo=reflection.answers))
            for name in REFLECTION_SERVICES
        ]
    )
    return server


class PredictorServicer(InferenceServicer):  # type: ignore[misc]
    """The SDK's servicer, with versions, and without loading and unloading."""

    def __init__(self, plane: DataPlane) -> None:
        super().__init__(plane, None)
        self._plane = plane

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802, the protocol's name
        self._plane.find(request.name, request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        self._plane.find(request.name, request.version)
        metadata = await self._plane.model_metadata(request.name)
        del metadata["parameters"]
        return messages.ModelMetadataResponse(**metadata)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._plane.find(request.model_name, request.model_version)
        for each in request.inputs[:1]:
            require_bytes_datatype(each.name, each.datatype.upper())  # the SDK's error would be "invalid content type"
            _require_texts(each, raw=bool(request.raw_input_contents))
        self.validate_grpc_request(request)
        sent = to_infer_request(request)
        response, _ = await self._plane.infer(request=sent, headers=to_headers(context), model_name=request.model_name)
        return response.to_grpc()

    async def RepositoryModelLoad(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise NotImplementedError("Models are not loaded on request.")

    async def RepositoryModelUnload(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise NotImplementedError("Models are not unloaded on request.")


def _require_texts(tensor: Any, *, raw: bool) -> None:
    """Raise InvalidInput unless the tensor has texts and nothing else: the SDK would ignore other contents."""
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    for name in filled:
        if name != "bytes_contents":
            raise InvalidInput(f"input {short_json(INPUT_NAME)} has {name}: expected bytes_contents and no other contents")
    if not (filled or raw) and text_count(tensor.shape) > 0:
        raise InvalidInput(f"input {short_json(INPUT_NAME)} has no contents: expected bytes_contents or raw_input_contents")


class _MethodHandler:
    """Handler of one method, which turns errors into statuses and counts inference requests by status.

    It replaces the generated handler, whose error for bytes that cannot be parsed is only the name of a class. To gRPC, every
    request is a stream: the message of any other request would be read before the handler is called.
    """

    def __init__(
        self,
        method: MethodDescriptor,
        answer: Callable[..., Any],
        metrics: Metrics,
        limits: Limits,
        in_flight: InFlightBytes,
        arrivals: ArrivalLimiter,
        turns: ParsingTurns,
    ) -> None:
        self._method = method
        self._name = method.name
        self._asked, self._answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        self._answer = answer
        self._metrics = metrics
        self._limits = limits
        self._in_flight = in_flight
        self._arrivals = arrivals
        self._turns = turns

    def handler(self) -> Any:
        """Return gRPC's handler.

        `answer` takes a request and the context; for a response stream, the request; for a request stream, their iterator.
        """
        how = {"response_serializer": self._answered.SerializeToString}
        if self._method.server_streaming:
            return stream_stream_rpc_method_handler(self._answer_stream, **how)
        return stream_unary_rpc_method_handler(self._answer_one, **how)

    async def _answer_one(self, _: Any, context: Any) -> Any:
        started = perf_counter()
        status = StatusCode.CANCELLED  # the status if the client leaves
        sentence = ""
        try:
            with self._in_flight.reserve() as reservation:
                answer = await self._answer(await self._read(context, reservation), context)
            status = StatusCode.OK
        except aio.AbortError:  # the message arrived too slowly, and `arrivals` has refused it
            status = StatusCode.RESOURCE_EXHAUSTED
            raise
        except Exception as error:
            failure = error_response(error)
            status, sentence = failure.grpc_code, failure.sentence
            if status is StatusCode.INTERNAL:
                logger.exception("%s failed", self._name)
        finally:
            if self._name == INFER:
                self._metrics.answered("grpc", status.name, perf_counter() - started)
        if status is not StatusCode.OK:
            # gRPC keeps the exception of `abort`, and with it this frame, until the next garbage collection. So no variable
            # here holds the request.
            await context.abort(status, sentence)
        return answer

    async def _answer_stream(self, _: Any, context: Any) -> AsyncIterator[Any]:
        """Yield the responses to one request, or to a stream of them."""
        failure = None
        try:
            with self._in_flight.reserve() as reservation:
                streamed = self._method.client_streaming
                requests = self._requests(context, reservation) if streamed else await self._read(context, reservation)
                async for answer in self._answer(requests):
                    yield answer
        except aio.AbortError:  # a message arrived too slowly, and `arrivals` has refused it
            raise
        except Exception as error:
            failure = error_response(error)
            if failure.grpc_code is StatusCode.INTERNAL:
                logger.exception("%s failed", self._name)
        if failure:
            await context.abort(failure.grpc_code, failure.sentence)

    async def _requests(self, context: Any, reservation: Reservation) -> AsyncIterator[Any]:
        while (sent := await self._arrivals.read(context)) is not aio.EOF:
            yield await self._parsed(sent, reservation)

    async def _read(self, context: Any, reservation: Reservation) -> Any:
        """Return the message of a request. Raises InvalidInput, TextsTooLarge, TooManyBytesInFlight."""
        sent = await self._arrivals.read(context)
        if sent is aio.EOF:
            raise InvalidInput("the request has no message: expected one")
        return await self._parsed(sent, reservation)

    async def _parsed(self, sent: bytes, reservation: Reservation) -> Any:
        try:
            if len(sent) > LARGE_REQUEST_BYTES:
                if self._name != INFER:
                    raise InvalidInput(f"the request has {len(sent)} bytes: expected at most {LARGE_REQUEST_BYTES}")
                reservation.grow_to(len(sent))
                await self._turns.wait(len(sent))
                self._require_bounded(sent)
            return self._asked.FromString(sent)
        except DecodeError as error:
            sentence = f"the request's bytes cannot be read: expected a message {self._asked.DESCRIPTOR.name}"
            raise InvalidInput(sentence) from error

    def _require_bounded(self, sent: bytes) -> None:
        """Raise InvalidInput or TextsTooLarge for a message with more parts or characters than any valid one."""
        self._limits.check_size(count_characters(sent))
        for count in part_counts(sent, self._asked.DESCRIPTOR):
            self._limits.check_parts(count)
