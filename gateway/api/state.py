"""Parts that all requests of one API process share."""

from __future__ import annotations

from asyncio import Event
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from gateway.api.finishes import Finishes
from gateway.api.hints import HintSender
from gateway.api.labels import Labels
from gateway.api.metrics import ApiMetrics
from gateway.api.rates import Rates
from gateway.api.tokens import Tokens
from gateway.api.watch import Watch
from gateway.classifiers.known import Classifiers
from gateway.config import GatewayConfig
from gateway.feedback.intake import FeedbackIntake
from gateway.records.intake import Intake
from gateway.webhooks.allow_list import AllowList


@dataclass(frozen=True)
class Shared:
    """Parts of the API. stopping: set when the process has received SIGTERM."""

    config: GatewayConfig
    classifiers: Classifiers
    allow_list: AllowList
    id_secret: bytes
    intake: Intake
    feedback: FeedbackIntake
    labels: Labels
    finishes: Finishes
    hints: HintSender
    tokens: Tokens
    rates: Rates
    watch: Watch
    metrics: ApiMetrics
    stopping: Event = field(default_factory=Event)


def shared(request: Request) -> Shared:
    """Return the parts, as a dependency of a route."""
    return cast("Shared", request.app.state.shared)
