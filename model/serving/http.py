"""REST: inference by a path of our own, everything else by the SDK's routes where they keep the protocol.

Ours too: model metadata and readiness, because the SDK's know no versions. Left out: explanations, which there are none
of; loading and unloading models, which the SDK lets anybody do.
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
    LARGEST_AT_ONCE,
    ClientGone,
    Intake,
    header,
    read_body,
    refuse,
    replay,
    respond,
    while_connected,
)
from model.serving.codec import Body, Inference, body_of, inference_of
from model.serving.errors import (
    STATUSES,
    BodyTooLarge,
    ErrorResponse,
    ServerStopping,
    TooManyBytesInFlight,
    error_response,
    shown,
)
from model.serving.metrics import Metrics
from model.serving.predictor import Plane, Predictor
from model.serving.requests import Answer

INFERENCE = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer|/v1/models/([^/]+):predict")
JSON_LENGTH = INFERENCE_CONTENT_LENGTH_HEADER.lower().encode()
JSON = {b"content-type": b"application/json"}
LOOK = ["GET", "HEAD"]  # the methods of everything but inference
CLIENT_GONE = "499"  # what servers that count such requests call them

Address = tuple[str, int]  # of a client: host and port

logger = logging.getLogger(__name__)


def make_app(plane: Plane, metrics: Metrics, registry: CollectorRegistry, *, max_body_bytes: int) -> Door:
    """The application: v1, v2 and /metrics of one predictor."""
    # Else FastAPI sends who writes a slash too many to an address that the client itself chose, by its Host.
    app = FastAPI(title="Labelwright", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_api_route("/", plane.live, methods=LOOK)
    app.add_api_route("/metrics", _metrics_of(registry), methods=LOOK)
    app.include_router(_v1(plane))
    app.include_router(_v2(plane))
    for kind in (*STATUSES, Exception):
        app.add_exception_handler(kind, _tell)
    app.add_exception_handler(HTTPException, _tell_http)
    return Door(app, plane, metrics, max_body_bytes=max_body_bytes)


def _v1(plane: Plane) -> APIRouter:
    router, theirs = APIRouter(prefix="/v1"), V1Endpoints(plane)
    router.add_api_route("/models", theirs.models, methods=LOOK)
    router.add_api_route("/models/{model_name}:predict", theirs.predict, methods=["POST"], response_model=None)
    router.add_api_route("/models/{model_name}:{_}", _nowhere, methods=["POST"])
    router.add_api_route("/models/{model_name}", theirs.model_ready, methods=LOOK)
    return router


def _v2(plane: Plane) -> APIRouter:
    router = APIRouter(prefix="/v2")
    theirs, ours = V2Endpoints(plane), _Models(plane)
    for path, answer in (
        ("", theirs.metadata),
        ("/health/live", theirs.live),
        ("/health/ready", theirs.ready),
        ("/models", theirs.models),
    ):
        router.add_api_route(path, answer, methods=LOOK)
    for model in ("/models/{name}", "/models/{name}/versions/{version}"):
        router.add_api_route(model, ours.metadata, methods=LOOK)
        router.add_api_route(model + "/ready", ours.ready, methods=LOOK)
    return router


class _Models:
    """What is asked about one model. `version` is None where the address names none."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def metadata(self, name: str, version: str | None = None) -> Response:
        self._plane.find(name, version)
        return Response(orjson.dumps(await self._plane.model_metadata(name)), media_type="application/json")

    async def ready(self, name: str, version: str | None = None) -> Response:
        if not self._plane.find(name, version).ready:
            raise ModelNotReady(name)
        return Response(orjson.dumps({"name": name, "ready": True}), media_type="application/json")


class Door:
    """What every request comes in by: inference is bounded, counted and, of v2, answered here; the rest is passed on.

    Inference is passed on for v1 only, whose body the SDK reads.
    """

    def __init__(self, app: ASGIApp, plane: Plane, metrics: Metrics, *, max_body_bytes: int) -> None:
        self._app = app
        self._plane = plane
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._intake = Intake(LARGEST_AT_ONCE * max_body_bytes)
        self._served_to_the_end: Collection[Address] | None = None

    def drain(self, connected: Collection[Address]) -> None:
        """From now on every response closes its connection, and inference is for these clients only.

        They had connected before readiness fell, and know of no other server yet; whoever connects now was told. Work
        that is cancelled from now on is answered too: that the server stops.
        """
        self._served_to_the_end = connected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._served_to_the_end is not None:
            send = _closing(send)
        asked = INFERENCE.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] != "POST":
            await respond(send, HTTPStatus.METHOD_NOT_ALLOWED, _error("Inference takes POST."), {**JSON, b"allow": b"POST"})
            return
        started = ended = perf_counter()
        code = CLIENT_GONE

        async def noting(message: Message) -> None:
            nonlocal code, ended
            if message["type"] == "http.response.start":
                code, ended = str(message["status"]), perf_counter()
            await send(message)

        try:
            await self._exchange(asked, scope, receive, noting)
        except asyncio.CancelledError:
            if self._served_to_the_end is None:
                raise
            if code == CLIENT_GONE:  # the grace period is over, and nothing was sent
                await respond(noting, *_told(error_response(ServerStopping())))
        finally:
            seconds = (perf_counter() if code == CLIENT_GONE else ended) - started
            self._metrics.answered("v1" if asked[3] else "v2", code, seconds)

    async def _exchange(self, asked: re.Match[str], scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None
        try:
            predictor = self._admitted(asked, scope)
            with self._intake.share() as share:
                body = await read_body(scope, receive, limit=self._max_body_bytes, share=share)
                _require_plain(header(scope, b"content-encoding"))
                if asked[3]:
                    await while_connected(receive, self._passed_on(scope, replay(body, receive), send))
                    return
                json_length = header(scope, JSON_LENGTH)
                inference = inference_of(body, json_length, model_name=predictor.name, limits=predictor.limits)
                del body  # else it was held until the answer
                answered = await while_connected(receive, _infer(predictor, inference))
                await respond(send, HTTPStatus.OK, answered.content, _headers(answered))
        except ClientGone:
            return
        except (BodyTooLarge, TooManyBytesInFlight) as error:
            refusal = _told(error_response(error))
        except Exception as error:
            outcome = error_response(error)
            if outcome.http_status is HTTPStatus.INTERNAL_SERVER_ERROR:
                logger.exception("%s failed", scope["path"])
            await respond(send, *_told(outcome))
        if refusal:  # the rest of the body is still to come; what did come is forgotten with the error
            await refuse(receive, send, *refusal)

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the SDK's routes answer. What they raise once they have answered is for the log, not for the client."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if not begun:
                raise
            logger.exception("%s failed", scope["path"])

    def _admitted(self, asked: re.Match[str], scope: Scope) -> Predictor:
        predictor = self._plane.find(asked[1] or asked[3], asked[2])
        if not (predictor.ready or scope["client"] in (self._served_to_the_end or ())):
            raise ModelNotReady(predictor.name)
        return predictor


async def _infer(predictor: Predictor, inference: Inference) -> Body:
    version, labels = predictor.manifest.version, predictor.manifest.labels

    def told(answer: Answer) -> Body:
        return body_of(inference, answer, model_name=predictor.name, version=version, labels=labels)

    return await predictor.ask(inference.question, told)


def _require_plain(encoding: str | None) -> None:
    """Raise InvalidInput for a body that must be unpacked first."""
    if encoding not in (None, "identity"):
        raise InvalidInput(f"header Content-Encoding is {shown(encoding)}: expected a body that is not compressed")


def _headers(body: Body) -> dict[bytes, bytes]:
    if body.json_length is None:
        return JSON
    return {b"content-type": b"application/octet-stream", JSON_LENGTH: b"%d" % body.json_length}


def _told(outcome: ErrorResponse) -> tuple[int, bytes, dict[bytes, bytes]]:
    later = {} if outcome.retry_after is None else {b"retry-after": b"%d" % outcome.retry_after}
    return outcome.http_status, _error(outcome.sentence), {**JSON, **later}


def _error(sentence: str) -> bytes:
    return orjson.dumps({"error": sentence})


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return closing


def _metrics_of(registry: CollectorRegistry) -> Callable[[Request], Awaitable[Response]]:
    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": media_type})

    return metrics


async def _nowhere() -> Response:
    raise HTTPException(HTTPStatus.NOT_FOUND)


async def _tell(_: Request, error: Exception) -> Response:
    status, content, headers = _told(error_response(error))
    return Response(content, status, {key.decode(): value.decode() for key, value in headers.items()})


async def _tell_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(error)
    return JSONResponse({"error": f"{error.detail}."}, status_code=error.status_code, headers=error.headers)
