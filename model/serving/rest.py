"""REST: the SDK's routes where they keep the protocol, ours where they do not.

Ours: model metadata, readiness and inference, because the SDK's know no versions and answer 422 or 500 to what a
client got wrong. Left out: loading and unloading models, which the SDK lets anybody do.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from time import perf_counter

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import ModelNotReady
from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
from kserve.protocol.rest.v2_endpoints import V2Endpoints
from prometheus_client import CollectorRegistry, exposition
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.serving.bodies import inference_of
from model.serving.metrics import Metrics
from model.serving.outcomes import EXPECTED, outcome_of
from model.serving.predictor import Plane

INFERENCE = re.compile(r"/(v1)/models/[^/]+:predict|/(v2)/models/.+/infer")


def make_app(plane: Plane, metrics: Metrics, registry: CollectorRegistry) -> FastAPI:
    """The application: v1, v2 and /metrics of one predictor."""
    app = FastAPI(title="Labelwright", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/", plane.live, methods=["GET"])
    app.add_api_route("/metrics", _metrics_of(registry), methods=["GET"])
    register_v1_endpoints(app, plane, None)
    app.include_router(_v2(plane))
    for kind in (*EXPECTED, Exception):
        app.add_exception_handler(kind, _tell)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_middleware(Outcomes, metrics=metrics)
    return app


def _v2(plane: Plane) -> APIRouter:
    router = APIRouter(prefix="/v2")
    theirs, ours = V2Endpoints(plane), _Models(plane)
    for path, answer in (
        ("", theirs.metadata),
        ("/health/live", theirs.live),
        ("/health/ready", theirs.ready),
        ("/models", theirs.models),
    ):
        router.add_api_route(path, answer, methods=["GET"])
    for model in ("/models/{name}", "/models/{name}/versions/{version}"):
        router.add_api_route(model, ours.metadata, methods=["GET"])
        router.add_api_route(model + "/ready", ours.ready, methods=["GET"])
        router.add_api_route(model + "/infer", ours.infer, methods=["POST"])
    return router


class _Models:
    """What is asked of one model. `version` is None where the address names none."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def metadata(self, name: str, version: str | None = None) -> Response:
        self._plane.find(name, version)
        return _json(await self._plane.model_metadata(name))

    async def ready(self, name: str, version: str | None = None) -> Response:
        self._plane.find(name, version)
        if not await self._plane.model_ready(name):
            raise ModelNotReady(name)
        return _json({"name": name, "ready": True})

    async def infer(self, request: Request, name: str, version: str | None = None) -> Response:
        self._plane.find(name, version)
        inference = inference_of(await request.body(), request.headers.get(INFERENCE_CONTENT_LENGTH_HEADER), name)
        answered, _ = await self._plane.infer(name, inference, dict(request.headers))
        content, json_length = answered.to_rest()
        if json_length is None:
            return _json(content)
        headers = {INFERENCE_CONTENT_LENGTH_HEADER: str(json_length)}
        return Response(content, media_type="application/octet-stream", headers=headers)


class Outcomes:
    """Counts each inference request and its status, whoever answered it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = INFERENCE.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        code = "500"  # what is answered further out if an exception comes through here

        async def noting(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._metrics.answered(found[1] or found[2], code, perf_counter() - started)


def _metrics_of(registry: CollectorRegistry) -> Callable[[Request], Awaitable[Response]]:
    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": media_type})

    return metrics


async def _tell(_: Request, error: Exception) -> Response:
    outcome = outcome_of(error)
    return JSONResponse({"error": outcome.sentence}, status_code=outcome.http)


async def _tell_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(error)
    return JSONResponse({"error": f"{error.detail}."}, status_code=error.status_code, headers=error.headers)


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
