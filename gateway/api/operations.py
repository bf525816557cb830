"""Routes for operators: liveness, readiness, metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import exposition
from pydantic import BaseModel, Field

from gateway.api.state import Shared, shared

router = APIRouter(tags=["operations"])
Parts = Annotated[Shared, Depends(shared)]


class Readiness(BaseModel):
    """State of Redis and of the predictors."""

    ready: bool = Field(description="whether Redis can be reached and keeps tasks safely; false while the process stops")
    redis: str = Field(description="`ready`, or sentences that say why tasks would not be safe")
    predictors: dict[str, str] = Field(
        description="by classifier: `ready`, or why not; this does not change whether tasks are accepted"
    )


@router.get("/health/live", operation_id="live", summary="Liveness", response_model=None)
async def live() -> dict[str, bool]:
    """Answer while the process runs."""
    return {"live": True}


@router.get("/health/ready", operation_id="ready", summary="Readiness", responses={503: {"model": Readiness}})
async def ready(parts: Parts, response: Response) -> Readiness:
    """Return 200 if Redis keeps tasks safely, otherwise 503. A predictor that is away only delays answers."""
    seen = parts.watch.seen
    accepts = not seen.redis and not parts.stopping.is_set()
    response.status_code = 200 if accepts else 503
    redis = "stopping" if parts.stopping.is_set() else " ".join(seen.redis) or "ready"
    return Readiness(ready=accepts, redis=redis, predictors=seen.predictors)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, include_in_schema=False)
async def metrics(parts: Parts, request: Request) -> Response:
    """Return the series of this process."""
    encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
    return Response(encode(parts.metrics.registry), headers={"content-type": media_type})
