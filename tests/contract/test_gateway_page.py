"""docs/gateway.md and docs/corrections.md list every metric, problem and setting that the gateway has, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from gateway.api.metrics import ApiMetrics
from gateway.api.problems import HTTP_KINDS
from gateway.config import GatewayConfig
from gateway.feedback.metrics import FeedbackMetrics
from gateway.records.intake import Sight
from gateway.work.breaker import Breaker
from gateway.work.metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gateway.md").read_text()
CORRECTIONS = (ROOT / "docs" / "corrections.md").read_text()
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "gateway").rglob("*.py")))


def test_every_metric_is_listed_with_its_labels_and_its_type() -> None:
    api, worker = ApiMetrics(CollectorRegistry()), CollectorRegistry()
    api.watch(lambda: Sight(tasks=1, processing=1, bytes=1, oldest_seconds=1.0, webhooks=0), lambda: {"papers": "ready"})
    WorkerMetrics(worker).watch("papers", Breaker())
    feedback = FeedbackMetrics(worker, "team")
    feedback.watch(tuple)
    feedback.know("papers")
    exposed = {
        f"{each.name}{'_total' if each.type == 'counter' else ''}": each.type
        for registry in (api.registry, worker)
        for each in registry.collect()
        if each.name.startswith("labelwright_")
    }
    listed = dict(re.findall(r"^\| `(labelwright_\w+)` \| (\w+) \|", PAGE + CORRECTIONS, re.MULTILINE))

    assert listed == exposed


def test_every_problem_is_listed() -> None:
    raised = set(re.findall(r"""(?:Problem|retry_later)\(\s*\d{3},\s*"([a-z-]+)\"""", SOURCES))
    raised |= set(re.findall(r"""kind="([a-z-]+)\"""", SOURCES)) | set(HTTP_KINDS.values())
    table = PAGE.split("### Errors")[1].split("\n## ")[0]
    listed = {
        name
        for _, names in re.findall(r"^\| (\d{3}) \| (.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`([a-z-]+)`", names)
    }

    assert listed == raised


def test_the_settings_that_the_page_names_exist() -> None:
    fields = set(GatewayConfig.model_fields)
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", PAGE + CORRECTIONS))

    assert {
        name
        for name in named
        if name.startswith(("max_", "lease_", "request_", "patience_", "retention_", "grace_", "flush_", "feedback_u", "allow_"))
    } <= fields
    assert {name for name in fields if name.startswith("max_")} <= named
