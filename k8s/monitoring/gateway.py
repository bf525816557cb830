"""The dashboard Gateway: tasks that wait, how they end, and the parts that they need."""

from __future__ import annotations

from k8s.monitoring.panels import Link, Panel, Query

UID, TITLE = "labelwright-gateway", "Labelwright / Gateway"
SOURCE = "labelwright_gateway_redis_up"
RELEASE = 'namespace=~"$home", release=~"$release"'
CLASSIFIER = f'{RELEASE}, classifier=~"$classifier"'
SERVING = Link("Serving", "labelwright-serving")
PLATFORM = Link("Platform", "labelwright-platform")


def gauge(name: str, *, by: str, matchers: str = RELEASE) -> str:
    """A gauge that every replica shows alike."""
    return f"max by ({by}) (labelwright_gateway_{name}{{{matchers}}})"


def rate(name: str, *, by: str, matchers: str = RELEASE) -> str:
    """The rate of a counter, over all replicas."""
    return f"sum by ({by}) (rate(labelwright_gateway_{name}{{{matchers}}}[$__rate_interval]))"


def quantile(share: float, name: str, *, by: str = "", matchers: str = RELEASE) -> str:
    """A quantile of a histogram, over all replicas."""
    return f"histogram_quantile({share}, {rate(f'{name}_bucket', by=f'{by}, le' if by else 'le', matchers=matchers)})"


TASKS = (
    Panel(
        "Open tasks",
        "Tasks without an outcome. pending: no worker has leased them; processing: a worker has.",
        "short",
        (Query(gauge("open_tasks", by="state"), "{{state}}"),),
        SERVING,
    ),
    Panel(
        "Age of the oldest open task",
        "Time that the oldest task has waited for its outcome. See the runbook LabelwrightGatewayQueueAge.",
        "s",
        (Query(gauge("queue_age_seconds", by="namespace, release"), "{{namespace}}/{{release}}"),),
        SERVING,
    ),
    Panel(
        "Time until a worker takes a task",
        "Time from a submission to its first claim: median and 99th percentile. If it rises, more workers help.",
        "s",
        tuple(Query(quantile(each, "claim_age_seconds"), f"p{each * 100:g}") for each in (0.5, 0.99)),
        PLATFORM,
    ),
    Panel(
        "Submissions",
        "Submissions a second. repeated: a task again; conflict: another task under its key; full: too many tasks wait.",
        "ops",
        (Query(rate("submissions_total", by="outcome"), "{{outcome}}"),),
        PLATFORM,
    ),
    Panel(
        "Tasks that ended",
        "Tasks a second that got their outcome. See the runbook LabelwrightGatewayTasksFailing.",
        "ops",
        (Query(rate("tasks_total", by="classifier, state", matchers=CLASSIFIER), "{{classifier}} {{state}}"),),
        SERVING,
    ),
    Panel(
        "Tasks that were given back",
        "Tasks a second that wait for another claim: the classifier was away, failed, or the breaker is open.",
        "ops",
        (Query(rate("deferrals_total", by="classifier, reason", matchers=CLASSIFIER), "{{classifier}} {{reason}}"),),
        SERVING,
    ),
)

PARTS = (
    Panel(
        "Redis answers",
        "1 for each replica of the API that reaches Valkey or Redis, else 0. See the runbook LabelwrightGatewayRefusing.",
        "short",
        (Query(gauge("redis_up", by="instance"), "{{instance}}"),),
        PLATFORM,
        maximum=1,
    ),
    Panel(
        "Classifiers that are ready",
        "1 for each classifier that the API finds ready, else 0.",
        "short",
        (Query(gauge("predictor_up", by="classifier", matchers=CLASSIFIER), "{{classifier}}"),),
        SERVING,
        maximum=1,
    ),
    Panel(
        "Open breakers",
        "1 while a worker sends a classifier only one request each 5 seconds, because the last five failed.",
        "short",
        (Query(gauge("breaker_open", by="classifier", matchers=CLASSIFIER), "{{classifier}}"),),
        SERVING,
        maximum=1,
    ),
    Panel(
        "Time of requests to classifiers",
        "Median and 99th percentile, as the workers measure it.",
        "s",
        tuple(
            Query(
                quantile(each, "predictor_seconds", by="classifier", matchers=CLASSIFIER), f"p{each * 100:g} {{{{classifier}}}}"
            )
            for each in (0.5, 0.99)
        ),
        SERVING,
    ),
    Panel(
        "Repaired losses",
        "Each second: leases of workers that died, hints that were lost, and second answers, which were dropped.",
        "ops",
        tuple(
            Query(f"sum(rate(labelwright_gateway_{name}_total{{{RELEASE}}}[$__rate_interval]))", legend)
            for name, legend in (
                ("expired_leases", "expired leases"),
                ("swept_hints", "lost hints"),
                ("second_answers", "second answers"),
            )
        ),
        PLATFORM,
    ),
    Panel(
        "Webhooks",
        "Attempts a second to send a webhook, by their outcome: repeated ones are tried again.",
        "ops",
        (Query(rate("webhooks_total", by="outcome"), "{{outcome}}"),),
        PLATFORM,
    ),
    Panel(
        "Open webhooks",
        "Webhooks that wait to be taken by their receivers.",
        "short",
        (Query(gauge("open_webhooks", by="namespace, release"), "{{namespace}}/{{release}}"),),
        PLATFORM,
    ),
    Panel(
        "Bytes of open tasks",
        "Size of the texts that wait, which max_open_bytes limits.",
        "bytes",
        (Query(gauge("open_bytes", by="namespace, release"), "{{namespace}}/{{release}}"),),
        PLATFORM,
    ),
)

REQUESTS = (
    Panel(
        "Requests by status",
        "Requests answered a second, by route and HTTP status.",
        "reqps",
        (Query(rate("requests_total", by="route, code"), "{{route}} {{code}}"),),
        PLATFORM,
        width=12,
    ),
    Panel(
        "Latency",
        "Time from a request to its response, by route: median and 99th percentile. Waiting for an answer is included.",
        "s",
        tuple(Query(quantile(each, "request_seconds", by="route"), f"p{each * 100:g} {{{{route}}}}") for each in (0.5, 0.99)),
        PLATFORM,
        width=12,
    ),
)
PANELS = (*TASKS, *PARTS, *REQUESTS)
