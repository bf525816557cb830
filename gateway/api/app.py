"""Assembly of the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from gateway.api import documentation, feedback, operations, predictions, problems
from gateway.api.body_limit import BodyLimit
from gateway.api.finishes import Finishes
from gateway.api.hints import HintSender
from gateway.api.labels import Labels
from gateway.api.metrics import ApiMetrics
from gateway.api.middleware import Surroundings
from gateway.api.rates import Rates
from gateway.api.state import Shared
from gateway.api.tokens import Tokens
from gateway.api.watch import Watch
from gateway.classifiers.known import Classifiers
from gateway.config import GatewayConfig
from gateway.feedback.intake import FeedbackIntake
from gateway.records.connections import for_api
from gateway.records.intake import Intake
from gateway.webhooks.allow_list import AllowList

ABOUT = "Labels texts asynchronously: submit texts, get the address of a task, and read its answer there."


def make_app(config: GatewayConfig, send_hint: Callable[[], None], stopping: asyncio.Event) -> ASGIApp:
    """Return the application. send_hint: wakes a worker. Raises SettingRejected if a file of the settings is wrong."""
    client = for_api(config.redis)
    intake, classifiers = Intake(client, config), Classifiers(config)
    parts = Shared(
        config=config,
        classifiers=classifiers,
        allow_list=AllowList(config.webhook_hosts),
        id_secret=config.id_secret(),
        intake=intake,
        feedback=FeedbackIntake(client, config),
        labels=Labels(),
        finishes=Finishes(client),
        hints=HintSender(send_hint),
        tokens=Tokens(config.tokens_file),
        rates=Rates(config.redis),
        watch=Watch(client, intake, classifiers),
        metrics=ApiMetrics(CollectorRegistry()),
        stopping=stopping,
    )
    parts.metrics.watch(lambda: parts.watch.seen.open, lambda: parts.watch.seen.predictors)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        classifiers.start()
        parts.hints.start()
        await parts.watch.look_at_redis()
        background = [asyncio.create_task(each) for each in (parts.watch.run(), parts.finishes.listen())]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            parts.hints.stop()
            classifiers.stop()
            await parts.labels.close()
            await client.aclose()

    app = FastAPI(
        title="Labelwright gateway",
        version=version("labelwright"),
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.shared = parts
    problems.install(app)
    app.include_router(predictions.router)
    if config.feedback_uri is not None:
        app.include_router(feedback.router)
    app.include_router(operations.router)
    documentation.install(app)
    return Surroundings(BodyLimit(app, limit=config.max_body_bytes), parts.metrics)
