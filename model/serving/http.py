"""REST API. A middleware serves v2 inference; the KServe SDK's routes serve the rest, where they follow the protocol.

Model metadata and readiness have routes of their own too, because the SDK's ignore versions. Not offered: explanations, and
loading and unloading models, which the SDK would allow every client.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from time import perf_counter

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import InvalidInput, ModelNotReady
from kserve.protocol.rest.v1_endpoints import V1Endpoints
from kserve.protocol.rest.v2_endpoints import V2Endpoints
from prometheus_client import CollectorRegistry, exposition
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.serving.asgi import (
    MAX_BODIES_IN_FLIGHT,
    ClientGone,
    InFlightBytes,
    header,
    read_body,
    refuse,
    replay,
    respond,
    while_connected,
)
from model.serving.codec import ResponseBody, V2Request, decode_v2, encode_v2
from model.serving.errors import (
    STATUSES,
    BodyTooLarge,
    ErrorResponse,
    ServerStopping,
    TooManyBytesInFlight,
    error_response,
    short_json,
)
from model.serving.metrics import Metrics
from model.serving.parsing_turns import ParsingTurns
from model.serving.predictor import DataPlane, Predictor
from model.serving.requests import InferenceResult

INFERENCE_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer|/v1/models/([^/]+):predict")
JSON_LENGTH_HEADER = INFERENCE_CONTENT_LENGTH_HEADER.lower().encode()
JSON_HEADERS = {b"content-type": b"application/json"}
READ_METHODS = ["GET", "HEAD"]  # of all routes except inference
CLIENT_GONE = "499"  # nginx's status for a client that closed its connection

Address = tuple[str, int]  # of a client: host and port

logger = logging.getLogger(__name__)


def make_app(
    plane: DataPlane, metrics: Metrics, registry: CollectorRegistry, *, max_body_bytes: int, turns: ParsingTurns
) -> InferenceMiddleware:
    """Return the application with v1, v2 and /metrics of one predictor."""
    # redirect_slashes=False: FastAPI would redirect a path with a trailing slash to an address taken from the Host header.
    app = FastAPI(title="Labelwright", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_api_route("/", plane.live, methods=READ_METHODS)
    app.add_api_route("/metrics", _metrics_endpoint(registry), methods=READ_METHODS)
    app.include_router(_v1(plane))
    app.include_router(_v2(plane))
    for kind in (*STATUSES, Exception):
        app.add_exception_handler(kind, _respond_to_error)
    app.add_exception_handler(HTTPException, _respond_to_http_error)
    return InferenceMiddleware(app, plane, metrics, max_body_bytes=max_body_bytes, turns=turns)


def _v1(plane: DataPlane) -> APIRouter:
    router, sdk = APIRouter(prefix="/v1"), V1Endpoints(plane)
    router.add_api_route("/models", sdk.models, methods=READ_METHODS)
    router.add_api_route("/models/{model_name}:predict", sdk.predict, methods=["POST"], response_model=None)
    router.add_api_route("/models/{model_name}:{_}", _not_found, methods=["POST"])
    router.add_api_route("/models/{model_name}", sdk.model_ready, methods=READ_METHODS)
    return router


def _v2(plane: DataPlane) -> APIRouter:
    router = APIRouter(prefix="/v2")
    sdk, models = V2Endpoints(plane), _ModelRoutes(plane)
    for path, endpoint in (
        ("", sdk.metadata),
        ("/health/live", sdk.live),
        ("/health/ready", sdk.ready),
        ("/models", sdk.models),
    ):
        router.add_api_route(path, endpoint, methods=READ_METHODS)
    for model in ("/models/{name}", "/models/{name}/versions/{version}"):
        router.add_api_route(model, models.metadata, methods=READ_METHODS)
        router.add_api_route(model + "/ready", models.ready, methods=READ_METHODS)
    return router


class _ModelRoutes:
    """Metadata and readiness of one model. `version` is None if the path has none."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def metadata(self, name: str, version: str | None = None) -> Response:
        self._plane.find(name, version)
        return Response(orjson.dumps(await self._plane.model_metadata(name)), media_type="application/json")

    async def ready(self, name: str, version: str | None = None) -> Response:
        if not self._plane.find(name, version).ready:
            raise ModelNotReady(name)
        return Response(orjson.dumps({"name": name, "ready": True}), media_type="application/json")


class InferenceMiddleware:
    """ASGI middleware that limits and counts inference requests, and answers v2 itself.

    Other requests, v1 inference included, go to the SDK's routes.
    """

    def __init__(self, app: ASGIApp, plane: DataPlane, metrics: Metrics, *, max_body_bytes: int, turns: ParsingTurns) -> None:
        self._app = app
        self._plane = plane
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._turns = turns
        self._in_flight = InFlightBytes(MAX_BODIES_IN_FLIGHT * max_body_bytes)
        self._admitted_while_stopping: Collection[Address] | None = None

    def drain(self, connected: Collection[Address]) -> None:
        """Close connections after their next response, and accept inference only from these clients.

        They connected while the server was ready, and the load balancer may still send them here. A request that is
        cancelled from now on is answered with ServerStopping (503).
        """
        self._admitted_while_stopping = connected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._admitted_while_stopping is not None:
            send = _closing(send)
        match = INFERENCE_PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] != "POST":
            await respond(
                send, HTTPStatus.METHOD_NOT_ALLOWED, _error_body("Inference requires POST."), {**JSON_HEADERS, b"allow": b"POST"}
            )
            return
        started = ended = perf_counter()
        code = CLIENT_GONE

        async def record_status(message: Message) -> None:
            nonlocal code, ended
            if message["type"] == "http.response.start":
                code, ended = str(message["status"]), perf_counter()
            await send(message)

        try:
            await self._respond(match, scope, receive, record_status)
        except asyncio.CancelledError:
            if self._admitted_while_stopping is None:
                raise
            if code == CLIENT_GONE:  # the grace period is over, and no response has begun
                await respond(record_status, *_error_parts(error_response(ServerStopping())))
        finally:
            seconds = (perf_counter() if code == CLIENT_GONE else ended) - started
            self._metrics.answered("v1" if match[3] else "v2", code, seconds)

    async def _respond(self, match: re.Match[str], scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None
        try:
            predictor = self._find_ready_predictor(match, scope)
            with self._in_flight.reserve() as reservation:
                body = await read_body(scope, receive, limit=self._max_body_bytes, reservation=reservation)
                _require_uncompressed(header(scope, b"content-encoding"))
                await self._turns.wait(len(body))
                if match[3]:
                    await while_connected(receive, self._pass_on(scope, replay(body, receive), send))
                    return
                json_length = header(scope, JSON_LENGTH_HEADER)
                request = decode_v2(body, json_length, model_name=predictor.name, limits=predictor.limits)
                del body  # free it before the inference
                response = await while_connected(receive, _infer(predictor, request))
                await respond(send, HTTPStatus.OK, response.content, _headers(response))
        except ClientGone:
            return
        except (BodyTooLarge, TooManyBytesInFlight) as error:
            refusal = _error_parts(error_response(error))
        except Exception as error:
            failure = error_response(error)
            if failure.http_status is HTTPStatus.INTERNAL_SERVER_ERROR:
                logger.exception("%s failed", scope["path"])
            await respond(send, *_error_parts(failure))
        if refusal:  # outside of the except block: the body read so far is freed while the client sends the rest
            await refuse(receive, send, *refusal)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the SDK's routes. An error after the start of the response is only logged."""
        begun = False

        async def record_start(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, record_start)
        except Exception:
            if not begun:
                raise
            logger.exception("%s failed", scope["path"])

    def _find_ready_predictor(self, match: re.Match[str], scope: Scope) -> Predictor:
        predictor = self._plane.find(match[1] or match[3], match[2])
        if not (predictor.ready or scope["client"] in (self._admitted_while_stopping or ())):
            raise ModelNotReady(predictor.name)
        return predictor


async def _infer(predictor: Predictor, request: V2Request) -> ResponseBody:
    version, labels = predictor.manifest.version, predictor.manifest.labels

    def encode(result: InferenceResult) -> ResponseBody:
        return encode_v2(request, result, model_name=predictor.name, version=version, labels=labels)

    return await predictor.infer(request.inference, encode)


def _require_uncompressed(encoding: str | None) -> None:
    """Raise InvalidInput for a compressed body."""
    if encoding not in (None, "identity"):
        raise InvalidInput(f"header Content-Encoding is {short_json(encoding)}: expected no compression")


def _headers(body: ResponseBody) -> dict[bytes, bytes]:
    if body.json_length is None:
        return JSON_HEADERS
    return {b"content-type": b"application/octet-stream", JSON_LENGTH_HEADER: b"%d" % body.json_length}


def _error_parts(failure: ErrorResponse) -> tuple[int, bytes, dict[bytes, bytes]]:
    """Return status, body and headers."""
    retry = {} if failure.retry_after is None else {b"retry-after": b"%d" % failure.retry_after}
    return failure.http_status, _error_body(failure.sentence), {**JSON_HEADERS, **retry}


def _error_body(sentence: str) -> bytes:
    return orjson.dumps({"error": sentence})


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return closing


def _metrics_endpoint(registry: CollectorRegistry) -> Callable[[Request], Awaitable[Response]]:
    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": media_type})

    return metrics


async def _not_found() -> Response:
    raise HTTPException(HTTPStatus.NOT_FOUND)


async def _respond_to_error(_: Request, error: Exception) -> Response:
    status, content, headers = _error_parts(error_response(error))
    return Response(content, status, {key.decode(): value.decode() for key, value in headers.items()})


async def _respond_to_http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(error)
    return JSONResponse({"error": f"{error.detail}."}, status_code=error.status_code, headers=error.headers)
